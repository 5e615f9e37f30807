"""What the two containers of a runner pod, and the worker that builds the pod, agree on.

`mariadb` runs the image of the server (so the tools' version is the server's) and only needs `sh`, `mariadb-backup`,
`mbstream`, the coreutils and, for passwords and a clone's identity, the server itself; `agent` runs our image. They
share the emptyDir WORK and meet in its FIFO.

The handshake, in files of WORK. The agent makes its checks first, and then the FIFO `stream`; the script waits for it,
or for `done`, which says that there is nothing (more) to do. What a tool answered is in a `*.status` file that the
shell writes after the tool has ended: the end of a stream alone proves nothing. Through the FIFO `alive`, which the
script holds open as long as it lives, the agent sees at once that the other container is gone.
"""

from __future__ import annotations

from galera_backup.models.jobs import Script

BACKUP_ROOT = "/var/backup"
DATA_DIRECTORY = "/var/lib/mysql"
"""Where the agent sees the data volume; the mariadb container sees it where the server does (environment DATADIR)."""
VOLUME = "/var/lib/galera-backup/volume"
"""Where a pod that stages or swaps sees the whole data volume, in both containers: renames do not cross mounts."""
WORK = "/run/galera-backup"
CREDENTIALS = "/run/credentials"
"""In the mariadb container of a backup: files `username` and `password`."""
ACCOUNTS = "/run/accounts"
"""In the mariadb container that stages: a directory with files `username` and `password` for each Secret."""
TERMINATION_LOG = "/dev/termination-log"

JOB_VARIABLE = "GALERA_BACKUP_JOB"
DATA_DIRECTORY_VARIABLE = "GALERA_BACKUP_DATA_DIRECTORY"
PLACE_VARIABLES = {
    "GALERA_BACKUP_ROOT": BACKUP_ROOT,
    DATA_DIRECTORY_VARIABLE: DATA_DIRECTORY,
    "GALERA_BACKUP_VOLUME": VOLUME,
    "GALERA_BACKUP_WORK": WORK,
    "GALERA_BACKUP_TERMINATION_LOG": TERMINATION_LOG,
}
"""Environment of the agent that moves its paths, with their defaults; a pod sets at most that of the data directory."""

MARIADB_CONTAINER = "mariadb"
AGENT_CONTAINER = "agent"

STAGING_RESERVE = 0.1
"""Part of a data volume that stays free while a second copy is made: its server stops when it is full."""

# --- names in WORK

ALIVE = "alive"
"""FIFO, made by the agent; the script writes a line when it starts and keeps it open to its end."""
STREAM = "stream"
"""FIFO, made by the agent when it is ready: mbstream, to the agent in a backup, from it in a restore."""
DONE = "done"
"""Made by the agent at its end, whatever that was: a script that still waits exits with 0."""
TARGET = "target"
"""One line: the directory that a restore unpacks to, as both containers see it."""
PREPARE = "prepare"
"""Made by the agent when the unpacked stream had the right size and checksum: the script may prepare."""
VERSION = "version"
"""Output of `mariadb-backup --version`."""
LSN_DIRECTORY = "lsn"
"""`--extra-lsndir`: mariadb-backup writes its checkpoints and info here at the very end of a backup."""

BACKUP_LOG = "backup.log"
BACKUP_STATUS = "backup.status"
UNPACK_LOG = "unpack.log"
UNPACK_STATUS = "unpack.status"
PREPARE_LOG = "prepare.log"
PREPARE_STATUS = "prepare.status"
ADOPT = "adopt"
"""Made by the agent when the prepared data has a grastate.dat with the identity of a clone: a server may adopt it."""
ADOPT_LOG = "adopt.log"
RECOVER_LOG = "recover.log"
"""Of the server that tells the position which InnoDB has then."""
ADOPT_STATUS = "adopt.status"
PASSWORDS = "passwords"
"""Made by the agent when the staged data is prepared: `1` to set the passwords that differ, `0` to compare only."""
PASSWORDS_LOG = "passwords.log"
PASSWORDS_STATUS = "passwords.status"
PASSWORDS_REPORT = "passwords.report"
"""A line for each Secret (`asked USER`) and account (`same|different|MariaDB error USER HOST`), names in hexadecimal
digits; then `end`."""

# --- scripts of the mariadb container: `sh -c SCRIPT`. POSIX sh, no sed or awk: a server's image may have neither.

_PRELUDE = f"""\
set -u
umask 007
export LC_ALL=C
WORK=${{WORK:-{WORK}}}
child=

stop() {{ # a container's first process gets no default action for TERM
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
    exit 143
}}
trap stop TERM INT

await() {{ # until the agent has made the file $1
    until [ -e "$WORK/$1" ]; do
        [ ! -e "$WORK/{DONE}" ] || exit 0
        sleep 0.05
    done
}}

hold_alive() {{
    exec 9<> "$WORK/{ALIVE}"
    echo started >&9
}}

publish() {{ # file $1 appears with the text $2, whole or not at all
    printf '%s\\n' "$2" > "$WORK/$1.new" && mv "$WORK/$1.new" "$WORK/$1"
}}

run() {{ # log input output command...: stderr to the container's log and to $WORK/log; answers its exit status
    log=$WORK/$1 input=$2 output=$3
    shift 3
    mkfifo "$log.pipe"
    tee "$log" < "$log.pipe" >&2 &
    tee=$!
    nice -n "${{NICENESS:-19}}" "$@" < "$input" > "$output" 2> "$log.pipe" &
    child=$!
    wait "$child"
    code=$?
    child=
    wait "$tee"
    return "$code"
}}

find_server() {{ # which an image may have outside of PATH
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec
    server=$(command -v mariadbd || command -v mysqld) || server=mariadbd
}}

prepare_tools() {{ # temporary files, and as many open files as the container allows: InnoDB keeps every table open
    mkdir -p "$WORK/tmp"
    export TMPDIR="$WORK/tmp"
    ulimit -n "$(ulimit -H -n)" 2>/dev/null || :
}}
"""

_BACKUP = f"""\
CREDENTIALS=${{CREDENTIALS:-{CREDENTIALS}}}

quote() {{ # $1 as a value of an option file
    rest=$1 quoted=
    while [ -n "$rest" ]; do
        following=${{rest#?}}
        character=${{rest%"$following"}}
        case $character in
            '\\' | '"') quoted=$quoted\\\\$character ;;
            '
') quoted=$quoted\\\\n ;;
            *) quoted=$quoted$character ;;
        esac
        rest=$following
    done
    printf '"%s"' "$quoted"
}}

await {STREAM}
hold_alive
prepare_tools
mkdir -p "$WORK/backup" "$WORK/{LSN_DIRECTORY}"
user=$(cat "$CREDENTIALS/username") && password=$(cat "$CREDENTIALS/password") || exit 1
(
    umask 077
    printf '[client]\\nuser=%s\\npassword=%s\\n' "$(quote "$user")" "$(quote "$password")" > "$WORK/client.cnf"
) || exit 1
set --
if [ -d "$DATADIR/lost+found" ] && [ ! -r "$DATADIR/lost+found" ]; then
    set -- --databases-exclude=lost+found # it takes the directory for a database, and fails when it cannot read it
fi
run {BACKUP_LOG} /dev/null "$WORK/{STREAM}" mariadb-backup --defaults-file="$WORK/client.cnf" --backup \\
    --galera-info --stream=mbstream --parallel=2 --host="$MARIADB_HOST" --port="$MARIADB_PORT" \\
    --datadir="$DATADIR" --target-dir="$WORK/backup" --tmpdir="$WORK/tmp" --extra-lsndir="$WORK/{LSN_DIRECTORY}" \\
    "$@"
code=$?
rm -f "$WORK/client.cnf"
publish {BACKUP_STATUS} "$code"
exit "$code"
"""

_UNPACK_AND_PREPARE = f"""\
await {STREAM}
hold_alive
prepare_tools
IFS= read -r target < "$WORK/{TARGET}"
run {UNPACK_LOG} "$WORK/{STREAM}" /dev/null mbstream -x -p 2 -C "$target"
code=$?
publish {UNPACK_STATUS} "$code"
[ "$code" -eq 0 ] || exit "$code"
await {PREPARE}
run {PREPARE_LOG} /dev/null /dev/null mariadb-backup --prepare --use-memory="${{PREPARE_MEMORY:-512M}}" \\
    --tmpdir="$WORK/tmp" --target-dir="$target"
code=$?
publish {PREPARE_STATUS} "$code"
[ "$code" -eq 0 ] || exit "$code"
"""

_ADOPT = f"""\
PROVIDERS=${{PROVIDERS:-/usr/lib/galera/libgalera_smm.so /usr/lib*/*/libgalera_smm.so /opt/*/*/lib/libgalera_smm.so}}
alone="gmcast.listen_addr=tcp://127.0.0.1:${{ADOPT_PORT:-4567}};ist.recv_addr=127.0.0.1"

serve_alone() {{ # log, further options: on the prepared data, reachable by nobody, alone in a group on loopback
    log=$1
    shift
    run "$log" /dev/null /dev/null timeout -k 10 "${{ADOPT_SECONDS:-600}}" "$server" \\
        --defaults-file="$target/backup-my.cnf" --datadir="$target" --tmpdir="$WORK/tmp" --socket="$WORK/tmp/socket" \\
        --pid-file="$WORK/tmp/pid" --skip-networking --skip-grant-tables --skip-log-bin --skip-slave-start \\
        --event-scheduler=OFF --innodb-buffer-pool-dump-at-shutdown=OFF --innodb-buffer-pool-load-at-startup=OFF \\
        --binlog-format=ROW --innodb-autoinc-lock-mode=2 --wsrep-on=ON --wsrep-provider="$provider" \\
        --wsrep-cluster-name=galera-backup-clone --wsrep-cluster-address=gcomm:// --wsrep-node-address=127.0.0.1 \\
        --wsrep-sst-method=skip --wsrep-provider-options="$alone;gcache.size=1M" "$@"
}}

await {ADOPT}
find_server
for provider in $PROVIDERS; do
    [ ! -e "$provider" ] || break
done
echo 'SHUTDOWN;' > "$WORK/tmp/shutdown.sql"
serve_alone {ADOPT_LOG} --init-file="$WORK/tmp/shutdown.sql" && serve_alone {RECOVER_LOG} --wsrep-recover
code=$?
publish {ADOPT_STATUS} "$code"
[ "$code" -eq 0 ] || exit "$code"
"""

_SET_PASSWORD = r"""
BEGIN NOT ATOMIC
    SET @report = CONCAT(@report, 'asked ', HEX(@user), '\n');
    FOR account IN (
        SELECT Host, Priv FROM mysql.global_priv
        WHERE User = @user AND JSON_VALUE(Priv, '$.is_role') IS NULL ORDER BY Host
    ) DO BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN
            GET DIAGNOSTICS CONDITION 1 @code = MYSQL_ERRNO;
            SET @report = CONCAT(@report, @code, ' ', HEX(@user), ' ', HEX(account.Host), '\n');
        END;
        EXECUTE IMMEDIATE CONCAT(
            'SET PASSWORD FOR ', QUOTE(@user), '@', QUOTE(account.Host), ' = PASSWORD(', QUOTE(@password), ')'
        );
        SELECT Priv INTO @after FROM mysql.global_priv WHERE User = @user AND Host = account.Host;
        SET @same =
            COALESCE(JSON_VALUE(account.Priv, '$.authentication_string'), '')
                = COALESCE(JSON_VALUE(@after, '$.authentication_string'), '')
            AND COALESCE(JSON_QUERY(account.Priv, '$.auth_or'), '') = COALESCE(JSON_QUERY(@after, '$.auth_or'), '');
        IF @same OR NOT @reset THEN
            UPDATE mysql.global_priv SET Priv = account.Priv WHERE User = @user AND Host = account.Host;
        END IF;
        SET @report =
            CONCAT(@report, IF(@same, 'same ', 'different '), HEX(@user), ' ', HEX(account.Host), '\n');
    END; END FOR;
END;
"""

_PASSWORDS = f"""\
ACCOUNTS=${{ACCOUNTS:-{ACCOUNTS}}}

statements() {{ # for --init-file, one on each line; secrets as base64, which needs no quoting and stays out of messages
    echo "SET SESSION sql_log_bin = 0;"
    echo "SET NAMES utf8mb4;"
    echo "SET @reset = $1, @report = '';"
    for account in "$ACCOUNTS"/*/; do
        user=$(base64 -w 0 < "${{account}}username") && password=$(base64 -w 0 < "${{account}}password") || return 1
        echo "SET @user = CONVERT(FROM_BASE64('$user') USING utf8mb4);"
        echo "SET @password = CONVERT(FROM_BASE64('$password') USING utf8mb4);"
        cat << 'STATEMENT' || return 1
{" ".join(_SET_PASSWORD.split())}
STATEMENT
    done
    echo "SELECT CONCAT(@report, 'end') INTO DUMPFILE '$WORK/{PASSWORDS_REPORT}';"
    echo "SHUTDOWN;"
}}

await {PASSWORDS}
IFS= read -r reset < "$WORK/{PASSWORDS}"
find_server
(
    umask 077
    statements "$reset" > "$WORK/passwords.sql"
) || {{
    echo "cannot read the mounted Secrets" > "$WORK/{PASSWORDS_LOG}"
    publish {PASSWORDS_STATUS} 1
    exit 1
}}
run {PASSWORDS_LOG} /dev/null /dev/null timeout -k 10 120 "$server" --no-defaults --datadir="$target" \\
    --innodb=OFF --default-storage-engine=Aria --wsrep-on=OFF --skip-log-bin --skip-slave-start \\
    --event-scheduler=DISABLED --plugin-load-add=auth_ed25519 --skip-networking --socket="$WORK/tmp/server.sock" \\
    --pid-file="$WORK/tmp/server.pid" --tmpdir="$WORK/tmp" --init-file="$WORK/passwords.sql"
code=$?
rm -f "$WORK/passwords.sql"
publish {PASSWORDS_STATUS} "$code"
[ "$code" -eq 0 ] || exit "$code"
"""

_VERSION = f"""\
await {ALIVE}
hold_alive
prepare_tools
publish {VERSION} "$(nice -n 19 mariadb-backup --version 2>&1)"
"""

_PARTS: dict[Script, str] = {
    "backup": _BACKUP,
    "unpack": _UNPACK_AND_PREPARE,
    "adopt": _ADOPT,
    "passwords": _PASSWORDS,
    "version": _VERSION,
}


def script(*parts: Script) -> str:
    """What the mariadb container runs: the parts, one after the other."""
    return _PRELUDE + "".join(_PARTS[each] for each in parts)
