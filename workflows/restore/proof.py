"""The proof of a restored cluster, and before the outage a try of what the proof will ask."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from workflows import call
from workflows.observe import until_all_answer
from workflows.restore import clone as clones
from workflows.restore.plan import Plan, Restore, look

with workflow.unsafe.imports_passed_through():
    from activities.prove import ProveActivities
    from galera_backup.errors import RestoreFailed
    from galera_backup.models.passwords import PasswordReport
    from galera_backup.models.proof import Proof, ProofTask
    from galera_backup.models.restore import RestoreRequest
    from galera_backup.rules.formed import all_answer, not_restored
    from galera_backup.rules.proof import wrong_passwords
    from galera_backup.show import describe_passwords

MARGIN = timedelta(minutes=5)
"""For a connection that is lost meanwhile: finding another server, and asking again."""


async def prove_identity(restore: Restore, plan: Plan) -> None:
    """Phase prove: every replica has the cluster UUID that this restore gave to its data, and a clone is alone.

    Error: `RestoreFailed`.
    """
    restore.work.enter("prove", "looking whether the cluster is the restored one")
    seen = await until_all_answer(lambda: look(restore.request, restore.work), all_answer)
    wrong = not_restored(seen, plan.recipe.uuid or "")
    if wrong is not None:
        raise RestoreFailed(wrong)
    if plan.clone is not None:
        await clones.check_alone(restore.request.site, plan.clone, plan.recipe.replicas)


class Proving:
    """The proof of one restore, as far as it is."""

    def __init__(self, restore: Restore) -> None:
        self._restore = restore
        self._passwords = PasswordReport()
        self.proof: Proof | None = None
        """Once the restored cluster is proved."""

    @staticmethod
    def limit(request: RestoreRequest) -> timedelta:
        """The longest that the tries, and all that is asked after the start, may take."""
        return _checks_limit(request) * 2 + _tables_limit(request) * 2

    async def try_out(self) -> None:
        """On the live cluster. Error: `InvalidInput` for what cannot work after the start either."""
        request = self._restore.request
        tried = await call.wait(
            ProveActivities.try_checks,
            _task(request),
            "try the checks on the live cluster, and read every Secret",
            limit=_checks_limit(request) + _tables_limit(request),
        )
        if not request.checks:
            return
        where = f"on {tried.replica}" if tried.replica else "nowhere: no server takes queries"
        self._fact("checks tried", "; ".join([where, *tried.passed_over]))

    def judge_passwords(self, reports: list[PasswordReport | None]) -> None:
        """Of all claims. Error: `RestoreFailed`, for passwords with which no login works after the start."""
        for report in reports:
            if report is not None and (wrong := wrong_passwords(report)) is not None:
                raise RestoreFailed(
                    f"comparing the passwords in backup {self._restore.request.backup_id!r} with today's Secrets: "
                    f"{wrong}. The database was not stopped; set 'reset_passwords_from_secrets' (strategy 'staged') or "
                    "change the Secrets to what the backup has. A user that the backup does not have cannot be reset: "
                    "leave its Secret out"
                )
        self._passwords = reports[0] or self._passwords
        self._fact("passwords", describe_passwords(self._passwords))

    async def prove(self, plan: Plan) -> None:
        """Phase prove, on the restored cluster. Error: `RestoreFailed`."""
        request = self._restore.request
        await prove_identity(self._restore, plan)
        summary = f"{len(request.checks)} SQL checks on the restored cluster"
        checks = await call.wait(ProveActivities.run_checks, _task(request), summary, limit=_checks_limit(request))
        self._fact("checks", f"{len(checks.checks)} held on `{checks.replica}`")
        summary = f"CHECK TABLE: {request.check_tables}"
        tables = await call.wait(ProveActivities.check_tables, _task(request), summary, limit=_tables_limit(request))
        note = f"; {tables.note}" if tables.note else ""
        self._fact("tables", f"{tables.checked} whole of {tables.seen} seen{note}")
        self.proof = Proof(checks=checks.checks, tables=tables, passwords=self._passwords)

    def _fact(self, name: str, value: str) -> None:
        self._restore.work.progress.fact(name, value)


def _task(request: RestoreRequest) -> ProofTask:
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
