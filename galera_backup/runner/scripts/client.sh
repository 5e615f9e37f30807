# shellcheck shell=sh
# The account, as an option file of a client. Environment: CREDENTIALS; MARIADB_TLS, where the server has TLS. Mounts: WORK,
# CREDENTIALS.

CREDENTIALS=${CREDENTIALS:-/run/credentials}

quote() { # $1 as a value of an option file
    rest=$1 quoted=
    while [ -n "$rest" ]; do
        following=${rest#?}
        character=${rest%"$following"}
        # shellcheck disable=SC1003 # a backslash, not an escaped quote
        case $character in
            '\' | '"') quoted=$quoted\\$character ;;
            '
') quoted=$quoted\\n ;;
            *) quoted=$quoted$character ;;
        esac
        rest=$following
    done
    printf '"%s"' "$quoted"
}

write_client_cnf() { # fails where the Secret cannot be read
    user=$(cat "$CREDENTIALS/username") && password=$(cat "$CREDENTIALS/password") || return 1
    (
        umask 077
        # From 11.4 on a client that verifies, which is the default, refuses a server without TLS. The worker does not either.
        printf '[client]\nuser=%s\npassword=%s\nloose-ssl-verify-server-cert=0\n' "$(quote "$user")" "$(quote "$password")" \
            > "$WORK/client.cnf"
        # Before 11.4 a client has no TLS unless it is told to, and a server or an account may demand it.
        [ -z "${MARIADB_TLS:-}" ] || echo ssl >> "$WORK/client.cnf"
    )
}
