"""Prove a restored cluster before its old data is given up; before the outage, try what will be asked of it."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import call
from workflows._progress import ProgressReport

with workflow.unsafe.imports_passed_through():
    from activities.prove import ProveActivities
    from galera_backup.errors import RestoreFailed
    from galera_backup.models.passwords import PasswordReport
    from galera_backup.models.proof import Proof, ProofTask
    from galera_backup.models.restore import RestoreRequest
    from galera_backup.rules.proof import wrong_passwords
    from galera_backup.show import describe_passwords

MARGIN = timedelta(minutes=5)
"""For servers that are lost meanwhile: looking for another one, and asking again."""


class Proving:
    """What is known of one restore's proof so far."""

    def __init__(self, request: RestoreRequest, progress: ProgressReport) -> None:
        self._request = request
        self._progress = progress
        self._passwords = PasswordReport()

    @staticmethod
    def limit(request: RestoreRequest) -> timedelta:
        """The longest that the tries, and all that is asked after the start, may take."""
        return _checks_limit(request) * 2 + _tables_limit(request) * 2

    async def try_out(self) -> None:
        """While the live cluster is up. Error: `InvalidInput` for what cannot work after the start either."""
        tried = await call.wait(
            ProveActivities.try_checks,
            self._task(),
            "try the checks on the live cluster, and read every Secret",
            limit=_checks_limit(self._request) + _tables_limit(self._request),
        )
        if not self._request.checks:
            return
        where = f"on {tried.replica}" if tried.replica else "nowhere: no server takes queries"
        self._progress.fact("checks tried", "; ".join([where, *tried.passed_over]))

    def judge_passwords(self, reports: list[PasswordReport | None]) -> None:
        """Of every claim. Error: `RestoreFailed`: with other passwords nobody could log in after the start."""
        for report in reports:
            if report is not None and (wrong := wrong_passwords(report)) is not None:
                raise RestoreFailed(
                    f"comparing the passwords in backup {self._request.backup_id!r} with today's Secrets: {wrong}. The "
                    "database was not stopped; set 'reset_passwords_from_secrets', or change the Secrets to what the "
                    "backup has. A user that the backup does not have cannot be reset: leave its Secret out"
                )
        self._passwords = reports[0] or self._passwords
        self._progress.fact("passwords", describe_passwords(self._passwords))

    async def prove(self) -> Proof:
        """On the restored cluster. Error: `RestoreFailed`."""
        checks = await call.wait(
            ProveActivities.run_checks,
            self._task(),
            f"{len(self._request.checks)} SQL checks on the restored cluster",
            limit=_checks_limit(self._request),
        )
        self._progress.fact("checks", f"{len(checks.checks)} held on `{checks.replica}`")
        tables = await call.wait(
            ProveActivities.check_tables,
            self._task(),
            f"CHECK TABLE: {self._request.check_tables}",
            limit=_tables_limit(self._request),
        )
        note = f"; {tables.note}" if tables.note else ""
        self._progress.fact("tables", f"{tables.checked} whole of {tables.seen} seen{note}")
        return Proof(checks=checks.checks, tables=tables, passwords=self._passwords)

    def _task(self) -> ProofTask:
        request = self._request
        return ProofTask(
            site=request.site,
            check_credentials=request.check_credentials or request.credentials,
            checks=request.checks,
            check_timeout=request.check_timeout,
            check_tables=request.check_tables,
            check_tables_timeout=request.check_tables_timeout,
            secrets=request.secrets,
        )


def _checks_limit(request: RestoreRequest) -> timedelta:
    return request.check_timeout * len(request.checks) + MARGIN


def _tables_limit(request: RestoreRequest) -> timedelta:
    return request.check_tables_timeout + MARGIN
