# shellcheck shell=sh
# After `client`: tell the agent why the account is refused, as a client of the image says it; nothing where it is not, or where the
# image has no client. Environment: MARIADB_HOST, MARIADB_PORT. Mounts: WORK.

await connected
said=
if client=$(command -v mariadb || command -v mysql); then
    write_client_cnf || exit 1
    said=$("$client" --defaults-file="$WORK/client.cnf" --host="$MARIADB_HOST" --port="$MARIADB_PORT" \
        --connect-timeout=20 --execute='SELECT 1' 2>&1 > /dev/null) && said=
    rm -f "$WORK/client.cnf"
fi
publish log_in "$said"
