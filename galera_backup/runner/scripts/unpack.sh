# shellcheck shell=sh
# Unpack and prepare. Environment: PREPARE_MEMORY (InnoDB's buffer pool while it applies the redo log), NICENESS (of the
# tools). Mounts: WORK, and the volume that the directory in the file `target` is on, as in the agent.

await stream
hold_alive
prepare_tools
IFS= read -r target < "$WORK/target"
run unpack.log "$WORK/stream" /dev/null mbstream -x -p 2 -C "$target"
code=$?
publish unpack.status "$code"
[ "$code" -eq 0 ] || exit "$code"
await prepare
run prepare.log /dev/null /dev/null mariadb-backup --prepare --use-memory="${PREPARE_MEMORY:-512M}" \
    --tmpdir="$WORK/tmp" --target-dir="$target"
code=$?
publish prepare.status "$code"
[ "$code" -eq 0 ] || exit "$code"
