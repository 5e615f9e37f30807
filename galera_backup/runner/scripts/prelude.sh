# shellcheck shell=sh
# Start of every script of the mariadb container. POSIX sh, no sed or awk: an image of the server may have neither.
# The image has none of our files: `galera_backup.runner.scripts` joins the parts to one `sh -c`. Environment: WORK; and
# GALERA_BACKUP_IMAGE, for where the image is not the root.

set -u
umask 007
export LC_ALL=C
WORK=${WORK:-/run/galera-backup}
child=

stop() { # a container's first process gets no default action for TERM
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
    exit 143
}
trap stop TERM INT

await() { # until the agent has made the file $1
    until [ -e "$WORK/$1" ]; do
        [ ! -e "$WORK/done" ] || exit 0
        sleep 0.05
    done
}

hold_alive() {
    exec 9<> "$WORK/alive"
    echo started >&9
}

publish() { # file $1 appears with the text $2, whole or not at all
    printf '%s\n' "$2" > "$WORK/$1.new" && mv "$WORK/$1.new" "$WORK/$1"
}

run() { # log input output command...: stderr to the container's log and to $WORK/log; returns its exit status
    log=$WORK/$1 input=$2 output=$3
    shift 3
    mkfifo "$log.pipe"
    tee "$log" < "$log.pipe" >&2 &
    tee=$!
    nice -n "${NICENESS:-19}" "$@" < "$input" > "$output" 2> "$log.pipe" &
    child=$!
    wait "$child"
    code=$?
    child=
    wait "$tee"
    return "$code"
}

find_server() { # which an image may have outside of PATH
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec
    # shellcheck disable=SC2034 # for the parts
    server=$(command -v mariadbd || command -v mysqld) || server=mariadbd
}

find_provider() { # Galera's library; empty when the image has none
    image=${GALERA_BACKUP_IMAGE:-/}
    provider=$image/usr/lib/galera/libgalera_smm.so
    [ -e "$provider" ] || provider=$(find "$image" -xdev -name 'libgalera*_smm.so' 2>/dev/null | head -n 1)
}

prepare_tools() { # temporary files, and as many open files as the container allows: InnoDB keeps every table open
    mkdir -p "$WORK/tmp"
    export TMPDIR="$WORK/tmp"
    # shellcheck disable=SC3045 # dash, bash and busybox have it; else the default stays
    ulimit -n "$(ulimit -H -n)" 2>/dev/null || :
}
