"""What must hold when a run is over, looked at by code of its own."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pymysql
import zstandard
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from dev.stack.console import StackError
from galera_backup.models.volumes import STAGED_RESTORES
from tests.chaos.site import JOURNAL, PODS, PRIMARY, TARGET, Site

MARK = "galera-backup/lease"
_ROLES = {PRIMARY: "primary"}
_NEXT_STEP = re.compile(
    r"\b(start|check|look|mend|make|set|grant|leave|name|enlarge|scale|wait|remove|restore a backup)\b", re.I
)
_VERIFY = r"""
set -e
rm -rf /tmp/verify; mkdir /tmp/verify; cd /tmp/verify
mbstream -x
mariadb-backup --prepare --target-dir=/tmp/verify >/tmp/verify.log 2>&1 || { tail -5 /tmp/verify.log >&2; exit 1; }
mariadbd --no-defaults --datadir=/tmp/verify --skip-networking --socket=/tmp/verify/s.sock --pid-file=/tmp/verify/pid \
  --innodb-buffer-pool-size=16M --wsrep-on=OFF --skip-grant-tables >/tmp/verify.log 2>&1 &
server=$!
ask() { mariadb --no-defaults --socket=/tmp/verify/s.sock --batch --skip-column-names -e "$1"; }
for _ in $(seq 150); do ask 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done
if ! ask "SELECT id FROM JOURNAL ORDER BY id; SELECT 'ballast', COUNT(*) FROM chaos.ballast"; then
  tail -5 /tmp/verify.log >&2
  exit 1
fi
kill $server; wait $server || true
rm -rf /tmp/verify
"""


def problems(site: Site) -> list[str]:
    """What of the cluster is not as it was when it was made."""
    return list(_problems(site))


def _problems(site: Site) -> Iterator[str]:
    for runner in site.runners():
        yield f"runner pod {runner.metadata.name} is left"
    statefulset = site.statefulset()
    if statefulset.spec.replicas != len(PODS):
        yield f"the StatefulSet wants {statefulset.spec.replicas} replicas"
    members = {pod.metadata.name: pod for pod in site.members()}
    for name in PODS:
        if not site.is_ready(name):
            yield f"{name} is not Ready"
    for pod in members.values():
        role = (pod.metadata.labels or {}).get("mariadb-role")
        if role != _ROLES.get(pod.metadata.name):
            yield f"{pod.metadata.name} has the role {role!r}"
    for each in (*members.values(), statefulset):
        if MARK in (each.metadata.annotations or {}):
            yield f"{each.metadata.name} still carries a lease's mark"
    for service, expected in {"mariadb": {PRIMARY}, "mariadb-replicas": set(PODS)}.items():
        found = site.endpoints(service)
        if found != expected:
            yield f"endpoints of {service} are {sorted(found)}"
    for name in PODS:
        yield from _problems_of(site, name)


def _problems_of(site: Site, name: str) -> Iterator[str]:
    expected = {
        "wsrep_local_state_comment": "Synced",
        "wsrep_cluster_status": "Primary",
        "wsrep_cluster_size": str(len(PODS)),
        "wsrep_desync_count": "0",
        "wsrep_ready": "ON",
    }
    try:
        connection = site.connect(name, 5)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep%'")
                status = {str(key): str(value) for key, value in cursor.fetchall()}
                cursor.execute("SELECT @@global.wsrep_desync")
                [(desync,)] = cursor.fetchall()
        finally:
            connection.close()
    except (pymysql.MySQLError, OSError) as error:
        yield f"{name}: {error}"
        return
    if int(desync):
        yield f"{name}: wsrep_desync is ON"
    for key, value in expected.items():
        if status.get(key) != value:
            yield f"{name}: {key} is {status.get(key)}"


def copies_left(site: Site) -> list[str]:
    """Staged or previous data on the data volumes."""
    return [f"{path} is left" for mount in site.data_mounts for path in mount.glob(STAGED_RESTORES)]


def rows_of(site: Site, pod: str) -> set[int]:
    """Ids in the journal, once the member has applied what was committed anywhere."""
    return {int(row) for (row,) in _ask_of_journal(site, pod, "id")}


def sum_of_rows(site: Site, pod: str) -> tuple[Any, ...]:
    """The same for the same ids; all ids of three members would take seconds after an hour."""
    [found] = _ask_of_journal(site, pod, "COUNT(*), SUM(id), BIT_XOR(CRC32(id))")
    return found


def _ask_of_journal(site: Site, pod: str, what: str) -> list[tuple[Any, ...]]:
    connection = site.connect(pod, 30)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wsrep_sync_wait = 1")
            cursor.execute(f"SELECT {what} FROM {JOURNAL}")
            return [tuple(row) for row in cursor.fetchall()]
    finally:
        connection.close()


@dataclass(frozen=True)
class Expected:
    """The rows that a cluster must have, and those that it must not have, if it is at this point of its history."""

    name: str
    must: set[int]
    must_not: set[int] = field(default_factory=set)


def compare_rows(site: Site, histories: Sequence[Expected]) -> tuple[str | None, list[str]]:
    """Which of these the cluster is at, the first that fits; and what is wrong with its rows."""
    rows = rows_of(site, PRIMARY)
    sums = {pod: sum_of_rows(site, pod) for pod in PODS}
    others = [pod for pod in PODS if sums[pod] != sums[PRIMARY]]
    wrong = [f"{pod} and {PRIMARY} differ in {len(rows_of(site, pod) ^ rows)} rows" for pod in others]
    for each in histories:
        if each.must <= rows and not each.must_not & rows:
            return each.name, wrong
    seen = [
        f"as {each.name!r} it lacks {len(each.must - rows)} of {len(each.must)} committed rows and has "
        f"{len(each.must_not & rows)} that were to be gone"
        for each in histories
    ]
    return None, [*wrong, f"rows: {'; '.join(seen)}"]


# --- backups


def backups(site: Site) -> dict[str, dict[str, Any]]:
    """What counts as a backup: the directories with a manifest, by id."""
    found = sorted(site.backups.glob("*/manifest.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def damaged_backups(site: Site, since: float) -> list[str]:
    """Backups made since a moment whose file is not what their manifest says."""
    wrong = []
    for backup_id, manifest in backups(site).items():
        directory = site.backups / backup_id
        if (directory / "manifest.json").stat().st_mtime < since:
            continue
        file = directory / manifest["stream"]
        if not file.exists() or file.stat().st_size != manifest["stored_bytes"]:
            wrong.append(f"backup {backup_id} counts, and its file is not whole")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != manifest["sha256"]:
            wrong.append(f"backup {backup_id} counts, and its checksum is wrong")
    return wrong


def does_not_restore(site: Site, backup_id: str, must: set[int]) -> list[str]:
    """Unpack and prepare a backup inside of a member's pod, start a server on it, and look for the rows."""
    manifest = backups(site).get(backup_id)
    if manifest is None:
        return [f"the run said that it made {backup_id}, which does not count as a backup"]
    file = site.backups / backup_id / manifest["stream"]
    with file.open("rb") as compressed:
        stream = zstandard.ZstdDecompressor().stream_reader(compressed).read()
    try:
        printed = site.execute(TARGET, ["bash", "-c", _VERIFY.replace("JOURNAL", JOURNAL)], stream, timeout=90)
    except StackError as error:
        return [f"backup {backup_id} does not restore: {error}"]
    lines = printed.split("\n")
    found = {int(line) for line in lines if line.isdigit()}
    wrong = []
    if must - found:
        wrong.append(f"backup {backup_id} lacks {len(must - found)} rows that were committed before it began")
    if "ballast\t2000" not in lines:
        wrong.append(f"backup {backup_id} lacks rows of the ballast: {lines[-2:]}")
    return wrong


# --- Temporal


async def open_leases(client: Client, site: Site) -> list[str]:
    """A lease that is still open."""
    handle = client.get_workflow_handle(site.lease_id)
    try:
        description = await handle.describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return []
    if description.status == WorkflowExecutionStatus.RUNNING:
        return [f"lease {handle.id} is still open"]
    return []


def badly_told(error_type: str, message: str) -> list[str]:
    """A failure that does not say what it is, or what to do."""
    wrong = []
    if not error_type or error_type in {"InternalError", "NotYet"}:
        wrong.append(f"the failure's type is {error_type!r}: {message[:300]}")
    if not _NEXT_STEP.search(message):
        wrong.append(f"the failure names no next step: {message[:300]}")
    return wrong


def settle(site: Site, within: float) -> list[str]:
    """The cluster's problems, once it has none or the time is over: endpoints follow readiness with a delay."""
    deadline = time.monotonic() + within
    while found := problems(site):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.3)
    return []
