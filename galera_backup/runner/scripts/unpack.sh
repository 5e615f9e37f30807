# shellcheck shell=sh
# Unpack and prepare. Environment: NICENESS (of the tools); CGROUP, for where the control group is not mounted as in a pod.
# Mounts: WORK, and the volume that the directory in the file `target` is on, as in the agent.

prepare_memory() { # MiB of InnoDB's buffer pool while it applies the redo log: half of what the container may use, or 512
    limit=max
    for file in memory.max memory/memory.limit_in_bytes; do # of control groups version 2 and 1
        [ ! -r "${CGROUP:-/sys/fs/cgroup}/$file" ] || IFS= read -r limit < "${CGROUP:-/sys/fs/cgroup}/$file"
    done
    case $limit in
        *[!0-9]*) half=512 ;;
        *) half=$((limit / 2097152)) ;;
    esac
    [ "$half" -lt 512 ] || half=512
    echo "$half"
}

await stream
hold_alive
prepare_tools
IFS= read -r target < "$WORK/target"
run unpack.log "$WORK/stream" /dev/null mbstream -x -p 2 -C "$target"
code=$?
publish unpack.status "$code"
[ "$code" -eq 0 ] || exit "$code"
await prepare
run prepare.log /dev/null /dev/null mariadb-backup --prepare --use-memory="$(prepare_memory)M" \
    --tmpdir="$WORK/tmp" --target-dir="$target"
code=$?
publish prepare.status "$code"
[ "$code" -eq 0 ] || exit "$code"
