"""What mariadb-backup writes, and what of it proves a success.

Its exit status lies (a killed one in a pipe leaves a stream that unpacks), so four things must agree: the status that
the shell saw, the last line of the log, the checkpoints and info that it writes at the very end, and the Galera
position. From 11.4 on the files are named `mariadb_backup_*` instead of `xtrabackup_*` (MDEV-18931).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from galera_backup.models.manifest import GaleraPosition, LogSequenceNumbers
from galera_backup.version import Version

SUCCESS = "completed OK!"
_PREFIXES = ("xtrabackup_", "mariadb_backup_")
GALERA_INFO = tuple(f"{prefix}galera_info" for prefix in _PREFIXES)
"""Names of the file in the stream that has the position."""
_METADATA = ("backup-my.cnf", "donor_galera_info")
_POSITION = re.compile(r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(?P<seqno>\d+)(?:[ ,](?P<domain>\d+))?")
_RECOVERED_LINE = "WSREP: Recovered position:"
_STAGES, _BLOCK_DDL, _BLOCK_DDL_IN_ONE = "BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL", "Acquiring BACKUP LOCKS"
"""Up to 10.11.7 the tool takes all its locks in one step, and names no stage before; later logs have that line, too."""
_DDL_BLOCKED = f"Acquired locks for {_BLOCK_DDL}", "Executing BACKUP STAGE END"
_PREPARED = ("log-applied", "full-prepared")


class ToolFault(Exception):
    """What mariadb-backup left does not prove a success; the text says what is missing."""


@dataclass(frozen=True)
class BackupFacts:
    """What mariadb-backup says of the backup that it made."""

    position: GaleraPosition
    lsn: LogSequenceNumbers
    server_version: str
    tool_version: str
    ddl_blocked_seconds: int | None = None
    """In which it had desynced its server by itself."""


def metadata(backup: Path) -> frozenset[str]:
    """Names of the files at the top of a backup that are mariadb-backup's own: no server needs them.

    A directory with such a name is a database.
    """
    files = (path.name for path in backup.iterdir() if path.is_file())
    return frozenset(name for name in files if name in _METADATA or name.startswith(_PREFIXES))


def check_log(log: str) -> None:
    """Error: ToolFault when the last line does not say success."""
    lines = log.strip().splitlines()
    last = lines[-1] if lines else ""
    if not last.endswith(SUCCESS):
        raise ToolFault(f"the last line of its log is {last[-200:]!r}, expected {SUCCESS!r}")


def backup_facts(log: str, lsn_directory: Path, galera_info: str) -> BackupFacts:
    """Read and check what a backup left; `galera_info`: the file of GALERA_INFO in its stream. Error: ToolFault."""
    check_log(log)
    checkpoints = _read_pairs(lsn_directory, "checkpoints")
    info = _read_pairs(lsn_directory, "info")
    try:
        kind = checkpoints["backup_type"]
        lsn = LogSequenceNumbers(
            from_lsn=int(checkpoints["from_lsn"]),
            to_lsn=int(checkpoints["to_lsn"]),
            last_lsn=int(checkpoints["last_lsn"]),
        )
        server_version, tool_version = info["server_version"], info["tool_version"]
    except (KeyError, ValueError) as error:
        raise ToolFault(f"its checkpoints or info lack a field or a number: {error}") from error
    if kind != "full-backuped" or lsn.from_lsn != 0 or not lsn.from_lsn <= lsn.to_lsn <= lsn.last_lsn:
        raise ToolFault(f"its checkpoints say {kind} from {lsn.from_lsn} to {lsn.to_lsn}, last {lsn.last_lsn}")
    check_fits(tool_version, server_version)
    return BackupFacts(_saved_position(galera_info), lsn, server_version, tool_version, _ddl_blocked(log))


def check_fits(tool: str, server: str) -> None:
    """Error: ToolFault unless both are of one series: a restore unpacks and prepares with tools of the server's."""
    of_tool, of_server = Version.parse(tool), Version.parse(server)
    if of_tool is None or of_server is None or of_tool.series != of_server.series:
        raise ToolFault(
            f"mariadb-backup has version {tool[:200]!r} and its server {server[:200]!r}, expected both of one series: "
            "their images must be the same"
        )


class Hold:
    """Fed with a log that grows, in whole lines, it knows whether the tool holds up its server, or is about to."""

    def __init__(self) -> None:
        self._has_stages = False
        self.begun = False

    def feed(self, lines: str) -> None:
        """What was added."""
        self._has_stages = self._has_stages or _STAGES in lines
        in_one = _BLOCK_DDL_IN_ONE in lines and not self._has_stages
        self.begun = self.begun or in_one or _BLOCK_DDL in lines


def _ddl_blocked(log: str) -> int | None:
    """Whole seconds from the block of DDL to its end; None where the log does not say."""
    begin, end = _DDL_BLOCKED if _STAGES in log else (_BLOCK_DDL_IN_ONE, _DDL_BLOCKED[1])
    times = [re.search(rf"^\[\d+\] (\S+ \S+) {line}", log, re.MULTILINE) for line in (begin, end)]
    began, ended = (datetime.fromisoformat(found[1]) if found else None for found in times)
    return int((ended - began).total_seconds()) if began is not None and ended is not None else None


def check_prepared(directory: Path, expected: GaleraPosition) -> GaleraPosition:
    """Check that the directory is prepared and is what the manifest says; answers the position that InnoDB recovered.

    That may be behind the server's own, which the manifest has: after CREATE TABLE ... SELECT, for one, a server does
    not write its position to InnoDB (10.11.19), though the write-set is in the data. It is never ahead. The recovered
    one is what `grastate.dat` must say: where the two differ a joiner asks for IST by grastate.dat, continues from
    InnoDB and fails ("IST started with wrong seqno"). As all claims are alike, the cluster goes on from there.
    Error: ToolFault.
    """
    kind = _read_pairs(directory, "checkpoints").get("backup_type")
    if kind not in _PREPARED:
        raise ToolFault(f"backup_type is {kind!r}, expected {_PREPARED[0]!r}")
    text = _read(directory, "galera_info")
    seen = _position(text)
    if seen is None or seen.uuid != expected.uuid or seen.seqno > expected.seqno:
        raise ToolFault(f"the Galera position is {text.strip()!r}, expected {str(expected)!r} as in the manifest")
    return seen


def recovered_position(log: str) -> GaleraPosition | None:
    """What a server with --wsrep-recover says that InnoDB has; None when it does not say."""
    for line in reversed(log.splitlines()):
        _, found, text = line.partition(_RECOVERED_LINE)
        if found:
            return _position(text)
    return None


def _saved_position(galera_info: str) -> GaleraPosition:
    """The write-set of the backup. Later versions name it in their log, too."""
    position = _position(galera_info)
    if position is None:
        raise ToolFault(
            f"its stream has no {' or '.join(GALERA_INFO)} with UUID:SEQNO, but {galera_info[:100]!r}: is the server a "
            "member of a cluster?"
        )
    return position


def _position(text: str) -> GaleraPosition | None:
    found = _POSITION.match(text.strip())
    if not found:
        return None
    domain = found["domain"]
    return GaleraPosition(
        uuid=found["uuid"], seqno=int(found["seqno"]), domain_id=int(domain) if domain is not None else None
    )


def _read(directory: Path, name: str) -> str:
    for prefix in _PREFIXES:
        path = directory / f"{prefix}{name}"
        if path.is_file():
            return path.read_text(errors="replace")
    raise ToolFault(f"it did not write {_PREFIXES[0]}{name}")


def _read_pairs(directory: Path, name: str) -> dict[str, str]:
    pairs = (line.partition(" = ") for line in _read(directory, name).splitlines())
    return {key.strip(): value.strip() for key, found, value in pairs if found}
