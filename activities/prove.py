"""Activities that prove a restored cluster, and that try before the outage what will be asked of it."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

from temporalio import activity

from activities._heartbeat import in_thread
from activities._observer import Observer
from galera_backup.errors import DatabaseUnavailable, InvalidInput, RestoreFailed
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.activities import Observe
from galera_backup.models.proof import (
    CheckSeen,
    ChecksReport,
    CheckTables,
    ProofTask,
    SeenTables,
    Table,
    TablesReport,
    TryReport,
)
from galera_backup.mysql.gateway import Endpoint, MysqlGateway
from galera_backup.mysql.proofs import TOO_LATE, QueryFault
from galera_backup.rules.proof import may_be_the_disaster, replica_to_ask, table_fault, tables_to_check
from galera_backup.show import members_table
from galera_backup.text import bounded

TRIES = 3
"""Attempts to ask a live cluster, which may be the disaster that the restore is for."""
_NOT_ALLOWED = (1142, 1143)


class ProveActivities:
    """They only read. Every attempt looks for a replica that answers."""

    def __init__(self, kube: KubeGateway, mysql: MysqlGateway) -> None:
        self._kube = kube
        self._mysql = mysql
        self._observer = Observer(kube, mysql)

    @activity.defn
    async def try_checks(self, task: ProofTask) -> TryReport:
        """Read every Secret, and run each check once on the live cluster, whatever its value.

        What damaged data explains passes, and so does a cluster that cannot be asked.
        Errors: `InvalidInput` for a check that cannot work, or an account that cannot do what it must;
        `DatabaseRefused`, `ClusterNotFound`.
        """
        for reference in task.secrets:
            await in_thread(self._kube.credentials, task.site.cluster.namespace, reference)
        try:
            server = await self._server(task)
            if server is None:
                return TryReport(replica=None)
            passed_over = [await self._try(task, number, server) for number in range(len(task.checks))]
            if task.check_tables == CheckTables.ALL:
                await self._require_select(task, server)
            elif task.check_tables == CheckTables.SAMPLE:
                await self._log_in(task, server)
        except DatabaseUnavailable as error:
            if activity.info().attempt < TRIES:
                raise
            return TryReport(replica=None, passed_over=(bounded(error.message, 300),))
        return TryReport(replica=server.pod, passed_over=tuple(each for each in passed_over if each))

    async def _try(self, task: ProofTask, number: int, server: Endpoint) -> str | None:
        check = task.checks[number]
        try:
            _, columns = await in_thread(self._mysql.ask, server, check.query, task.check_timeout)
            seen = None if len(columns) == 1 else f"{len(columns)} columns"
        except QueryFault as fault:
            if may_be_the_disaster(fault.code):
                return bounded(f"{_which(task, number)}: {fault}", 300)
            seen = str(fault)
        if seen is None:
            return None
        raise InvalidInput(
            f"checks: trying {_which(task, number)} on {server.pod!r}, as {server.credentials.user!r}: expected one "
            f"column, seen {seen}. Nothing was changed; correct the check, grant its account what it reads, or raise "
            "'check_timeout'"
        )

    async def _log_in(self, task: ProofTask, server: Endpoint) -> None:
        """Error: `DatabaseRefused`."""
        with contextlib.suppress(QueryFault):
            await self._seen_tables(task, server)

    async def _require_select(self, task: ProofTask, server: Endpoint) -> None:
        try:
            seen = await self._seen_tables(task, server)
        except QueryFault:
            return
        if not seen.may_select:
            raise InvalidInput(
                f"check_tables: {server.credentials.user!r} sees no table on {server.pod!r}; expected SELECT on all "
                "that CHECK TABLE is to look at. Nothing was changed; grant it, name another account in "
                "'check_credentials', or set 'check_tables' to 'sample' or 'none'"
            )

    @activity.defn
    async def run_checks(self, task: ProofTask) -> ChecksReport:
        """Run each check on one replica of the restored cluster. Error: `RestoreFailed` for the first that fails."""
        server = await self._restored_server(task)
        seen = [await self._check(task, number, server) for number in range(len(task.checks))]
        return ChecksReport(replica=server.pod, checks=tuple(seen))

    async def _check(self, task: ProofTask, number: int, server: Endpoint) -> CheckSeen:
        check = task.checks[number]
        try:
            rows, columns = await in_thread(self._mysql.ask, server, check.query, task.check_timeout)
            seen = _value(columns[0]) if (rows, len(columns)) == (1, 1) else _shape(rows, len(columns))
            if (rows, len(columns)) == (1, 1) and columns[0] == check.expected:
                return CheckSeen(query=bounded(check.query, 300), seen=columns[0])
        except QueryFault as fault:
            seen = str(fault)
        raise RestoreFailed(
            f"{_which(task, number)} on {server.pod!r}: expected {_value(check.expected)}, seen {seen}. The backup "
            "does not hold what the check asks for: restore another one, or correct the check"
        )

    @activity.defn
    async def check_tables(self, task: ProofTask) -> TablesReport:
        """CHECK TABLE on one replica of the restored cluster, until the time is over.

        Error: `RestoreFailed` for a damaged table and, when all tables were asked for, for one that was not looked at.
        """
        if task.check_tables == CheckTables.NONE:
            return TablesReport(asked=CheckTables.NONE)
        server = await self._restored_server(task)
        report = await self._check_all(task, server)
        if report.note is not None and task.check_tables == CheckTables.ALL:
            raise RestoreFailed(
                f"CHECK TABLE on {server.pod!r}: expected all tables to be looked at, seen {report.checked}: "
                f"{report.note}. Grant SELECT to {server.credentials.user!r} before the backup, raise "
                "'check_tables_timeout', or set 'check_tables' to 'sample'"
            )
        return report

    async def _check_all(self, task: ProofTask, server: Endpoint) -> TablesReport:
        info = activity.info()
        used = info.current_attempt_scheduled_time - info.scheduled_time  # by earlier attempts
        until = time.monotonic() + (task.check_tables_timeout - used).total_seconds()
        report = TablesReport(asked=task.check_tables, replica=server.pod)
        try:
            seen = await self._seen_tables(task, server)
        except QueryFault as fault:
            return report.model_copy(update={"note": str(fault)})
        report = report.model_copy(update={"seen": len(seen.tables)})
        if not seen.may_select:
            return report.model_copy(update={"note": f"{server.credentials.user!r} may not read any table"})
        for table in tables_to_check(seen.tables, task.check_tables):
            activity.heartbeat(f"{report.checked} tables checked; now {table}")
            try:
                await self._check_table(task, server, table, timedelta(seconds=until - time.monotonic()))
                report = report.model_copy(update={"checked": report.checked + 1})
            except QueryFault as fault:
                if fault.code == TOO_LATE:
                    note = f"{task.check_tables_timeout} were over at {str(table)!r}"
                    return report.model_copy(update={"note": note})
                note = f"{server.credentials.user!r} may not read {str(table)!r}"
                report = report.model_copy(update={"note": note})
        return report

    async def _check_table(self, task: ProofTask, server: Endpoint, table: Table, left: timedelta) -> None:
        """Errors: `RestoreFailed` for damage, `QueryFault` for a table that cannot be looked at."""
        if left <= timedelta(0):
            raise QueryFault(TOO_LATE, "no time is left")
        try:
            found = table_fault(await in_thread(self._mysql.check_table, server, table, left))
        except QueryFault as fault:
            if fault.code in (TOO_LATE, *_NOT_ALLOWED):
                raise
            found = str(fault)
        if found is not None and table in (await self._seen_tables(task, server)).tables:  # nobody dropped it
            raise RestoreFailed(
                f"CHECK TABLE {str(table)!r} on {server.pod!r}: expected OK, seen {bounded(found, 500)}. The backup is "
                "damaged there: restore another one"
            )

    async def _seen_tables(self, task: ProofTask, server: Endpoint) -> SeenTables:
        return await in_thread(self._mysql.seen_tables, server, task.check_tables_timeout)

    async def _restored_server(self, task: ProofTask) -> Endpoint:
        server = await self._server(task)
        if server is None:
            raise DatabaseUnavailable(
                f"proving {str(task.site.cluster)!r}: expected a replica that takes queries, saw none"
            )
        return server

    async def _server(self, task: ProofTask) -> Endpoint | None:
        """As whom the checks run; None when no replica takes queries."""
        seen = await in_thread(self._observer.observe, Observe(site=task.site))
        replica = replica_to_ask(seen, task.site.primary_label)
        if replica is None:
            return None
        pod = await in_thread(self._kube.find_pod, task.site.cluster.namespace, replica.pod)
        if pod is None or not pod.ip:
            raise DatabaseUnavailable(members_table(seen))
        return await in_thread(self._observer.endpoint, task.site, pod, task.check_credentials)


def _which(task: ProofTask, number: int) -> str:
    return f"check {number + 1} of {len(task.checks)} {bounded(task.checks[number].query, 300)!r}"


def _value(value: str | None) -> str:
    return "NULL" if value is None else repr(bounded(value, 200))


def _shape(rows: int, columns: int) -> str:
    return f"{rows if rows < 2 else 'more than 1'} rows with {columns} columns"
