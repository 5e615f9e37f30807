# shellcheck shell=sh
# Stream one full backup. Environment: DATADIR, MARIADB_HOST, MARIADB_PORT, CREDENTIALS; MARIADB_TLS, where the server has
# TLS. Mounts: WORK, CREDENTIALS, the data volume, read-only, at the server's path.

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

await stream
hold_alive
prepare_tools
mkdir -p "$WORK/backup" "$WORK/lsn"
user=$(cat "$CREDENTIALS/username") && password=$(cat "$CREDENTIALS/password") || exit 1
(
    umask 077
    # From 11.4 on a client that verifies, which is the default, refuses a server without TLS. The worker does not verify either.
    printf '[client]\nuser=%s\npassword=%s\nloose-ssl-verify-server-cert=0\n' "$(quote "$user")" "$(quote "$password")" \
        > "$WORK/client.cnf"
    # Before 11.4 a client has no TLS unless it is told to, and a server or an account may demand it.
    [ -z "${MARIADB_TLS:-}" ] || echo ssl >> "$WORK/client.cnf"
) || exit 1
set --
if [ -d "$DATADIR/lost+found" ] && [ ! -r "$DATADIR/lost+found" ]; then
    set -- --databases-exclude=lost+found # it takes the directory for a database, and fails when it cannot read it
fi
run backup.log /dev/null "$WORK/stream" mariadb-backup --defaults-file="$WORK/client.cnf" --backup \
    --galera-info --stream=mbstream --parallel=2 --host="$MARIADB_HOST" --port="$MARIADB_PORT" \
    --datadir="$DATADIR" --target-dir="$WORK/backup" --tmpdir="$WORK/tmp" --extra-lsndir="$WORK/lsn" \
    "$@"
code=$?
rm -f "$WORK/client.cnf"
publish backup.status "$code"
exit "$code"
