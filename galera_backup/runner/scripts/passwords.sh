# shellcheck shell=sh
# After `unpack`: compare or set the passwords. InnoDB stays off, so the identity of a clone stays as it is. Mounts:
# ACCOUNTS. In WORK the agent makes, before `passwords`, `set_password.sql`, the statement for one account, and `accounts`,
# those that files of the data directory name, each as in ACCOUNTS.
# shellcheck disable=SC2154 # prelude.sh sets server, unpack.sh sets target

ACCOUNTS=${ACCOUNTS:-/run/accounts}

statements() { # for --init-file, one on each line; secrets as base64, which needs no quoting and stays out of messages
    echo "SET SESSION sql_log_bin = 0;"
    echo "SET NAMES utf8mb4;"
    echo "SET @reset = $1, @report = '';"
    for account in "$ACCOUNTS"/*/ "$WORK"/accounts/*/; do
        [ -d "$account" ] || continue
        user=$(base64 -w 0 < "${account}username") && password=$(base64 -w 0 < "${account}password") || return 1
        echo "SET @user = CONVERT(FROM_BASE64('$user') USING utf8mb4);"
        echo "SET @password = CONVERT(FROM_BASE64('$password') USING utf8mb4);"
        cat "$WORK/set_password.sql" || return 1
    done
    echo "SELECT CONCAT(@report, 'end') INTO DUMPFILE '$WORK/passwords.report';"
    echo "SHUTDOWN;"
}

await passwords
IFS= read -r reset < "$WORK/passwords"
find_server
(
    umask 077
    statements "$reset" > "$WORK/passwords.sql"
) || {
    echo "cannot read the mounted Secrets" > "$WORK/passwords.log"
    publish passwords.status 66
    exit 1
}
run passwords.log /dev/null /dev/null timeout -k 10 120 "$server" --no-defaults --datadir="$target" \
    --innodb=OFF --default-storage-engine=Aria --wsrep-on=OFF --skip-log-bin --skip-slave-start \
    --event-scheduler=DISABLED --plugin-load-add=auth_ed25519 --skip-networking --socket="$WORK/tmp/server.sock" \
    --pid-file="$WORK/tmp/server.pid" --tmpdir="$WORK/tmp" --init-file="$WORK/passwords.sql"
code=$?
rm -f "$WORK/passwords.sql"
publish passwords.status "$code"
[ "$code" -eq 0 ] || exit "$code"
