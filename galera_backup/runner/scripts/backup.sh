# shellcheck shell=sh
# After `client`: stream one full backup. Environment: DATADIR, MARIADB_HOST, MARIADB_PORT. Mounts: WORK, the data volume,
# read-only, at the server's path.

await stream
hold_alive
prepare_tools
mkdir -p "$WORK/backup" "$WORK/lsn"
write_client_cnf || exit 1
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
