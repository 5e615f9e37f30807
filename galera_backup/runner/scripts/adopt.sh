# shellcheck shell=sh
# After `unpack`: a server takes the identity in the data's grastate.dat, which writes it to InnoDB. Environment:
# ADOPT_SECONDS, ADOPT_PORT, for where it is not as in a pod.
# shellcheck disable=SC2154 # prelude.sh sets server, unpack.sh sets target

alone="gmcast.listen_addr=tcp://127.0.0.1:${ADOPT_PORT:-4567};ist.recv_addr=127.0.0.1"

serve_alone() { # log, further options: on the prepared data, reachable by nobody, alone in a group on loopback
    log=$1
    shift
    # backup-my.cnf names the directories of the server that was backed up; all of its files are in the target yet.
    run "$log" /dev/null /dev/null timeout -k 10 "${ADOPT_SECONDS:-600}" "$server" \
        --defaults-file="$target/backup-my.cnf" --datadir="$target" --innodb-undo-directory="$target" \
        --innodb-log-group-home-dir="$target" --aria-log-dir-path="$target" --tmpdir="$WORK/tmp" \
        --socket="$WORK/tmp/socket" \
        --pid-file="$WORK/tmp/pid" --skip-networking --skip-grant-tables --skip-log-bin --skip-slave-start \
        --event-scheduler=OFF --innodb-buffer-pool-dump-at-shutdown=OFF --innodb-buffer-pool-load-at-startup=OFF \
        --binlog-format=ROW --innodb-autoinc-lock-mode=2 --wsrep-on=ON --wsrep-provider="$provider" \
        --wsrep-cluster-name=galera-backup-clone --wsrep-cluster-address=gcomm:// --wsrep-node-address=127.0.0.1 \
        --wsrep-sst-method=skip --wsrep-provider-options="$alone;gcache.size=1M" "$@"
}

await adopt
find_server
find_provider
echo 'SHUTDOWN;' > "$WORK/tmp/shutdown.sql"
serve_alone adopt.log --init-file="$WORK/tmp/shutdown.sql" && serve_alone recover.log --wsrep-recover
code=$?
publish adopt.status "$code"
[ "$code" -eq 0 ] || exit "$code"
