"""Before anything is changed: the backup is whole and fits, there is room for it, a person approves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

from workflows import _runner
from workflows.gather import for_each
from workflows.operation import Work
from workflows.preflight import refuse
from workflows.progress import ProgressReport
from workflows.restore import clone as clones
from workflows.restore.plan import Plan, Restore, look_before
from workflows.restore.proof import Proving

with workflow.unsafe.imports_passed_through():
    from galera_backup.errors import InternalError, NotEnoughSpace, RestoreFailed
    from galera_backup.models.cluster import ClaimObservation
    from galera_backup.models.jobs import CheckJob, InspectJob, Pin
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.plan import ClaimPlan, RestorePlan
    from galera_backup.models.preflight import Finding, warnings
    from galera_backup.models.reports import CheckReport, Inspection
    from galera_backup.models.restore import OutageRequest, RestoreRequest, Strategy
    from galera_backup.rules.plan import changed_since, expected_outage
    from galera_backup.rules.preflight.findings import keys_of_backup
    from galera_backup.rules.preflight.places import left_elsewhere
    from galera_backup.rules.preflight.volumes import placed, volumes
    from galera_backup.rules.space import lacking_space, lacking_staging_space, lacking_unpack_space

CHECK_LIMIT = timedelta(hours=2)
"""For reading the whole backup once, to verify its checksum."""


@dataclass(frozen=True)
class Room:
    """Where a strategy needs free space, and what to do where there is too little."""

    lacking_on_data_volume: Callable[[CheckReport, int, str], str | None]
    """Why there is too little for a backup of so many KB on a claim, or None."""
    lacking_on_backup_volume: Callable[[CheckReport, int, str], str | None] | None
    way_out: str


SECOND_COPY = Room(
    lacking_staging_space,
    None,
    "make room, or set 'strategy' to 'rolling', which needs none for a second copy there: it unpacks on the backup "
    "volume, removes the old data, and its outage ends when the first replica is written; or to 'in_place'",
)
"""On every data volume, beside the data that is used."""
UNPACKED = Room(lacking_space, lacking_unpack_space, "make room, or enlarge the claims")
"""On the backup volume; on every data volume once its old data is removed."""


async def check_backup(
    restore: Restore, plan: Plan, room: Room, copies: int, proof: Proving | None = None
) -> tuple[Plan, Manifest]:
    """Phase check: the backup is complete and whole, it fits the server's version, and there is room for it.

    Answers the plan with what the volumes have shown.

    `copies`: how many times its data will be written while the database is down.
    `proof`: what it will ask is tried first, as that takes less time than reading a backup.
    Errors: `BackupNotFound`, `BackupDamaged`, `VersionMismatch`, `NotEnoughSpace`, and those of the proof.
    """
    request, work = restore.request, restore.work
    work.enter("check", f"verifying {request.backup_id} and the room on every volume; the database is up")
    if proof is not None:
        await proof.try_out()
    first, *others = plan.claims
    report = await _check_claim(plan, first, request.backup_id, pin=_pin(plan, request))
    manifest = report.manifest
    if manifest is None:
        raise InternalError("the check of the backup returned no manifest")
    reports = [report, *await _check_claims(plan, others, "check")]
    plan, reports = await _place(plan, reports, manifest, said=request.data_directory is not None)
    keys, without_keys = keys_of_backup(manifest.layout.key_files, plan.seen.planned)
    found = [*_of_volumes(request, plan, manifest, reports), *without_keys]
    refuse(found, "restore", request)
    plan = plan.with_server_volumes(keys).with_left_incomplete(_left_incomplete(plan, reports))
    obstacles = _obstacles(plan, room, manifest.room_kb, reports)
    described = _described(plan, manifest, reports, obstacles, copies)
    restore.questions.plan = described.model_copy(update={"findings": (*plan.seen.findings, *found)})
    _show(restore.questions.plan, work.progress)
    told = warnings(restore.questions.plan.findings, "restore", request.accept)
    work.progress.fact("preflight", "; ".join(told) or "no warnings")
    _require_room(obstacles, request, manifest, room)
    return plan, manifest


def _left_incomplete(plan: Plan, reports: list[CheckReport]) -> tuple[str, ...]:
    """Of each claim on which no server answers: one that does was filled since by a state transfer."""
    members = [plan.seen.member(claim.ordinal) for claim in plan.claims]
    silent = [member.wsrep is None and not member.ready for member in members]
    groups = {report.group for report, is_silent in zip(reports, silent, strict=True) if is_silent and report.group}
    unlike = f"the claims hold data of {len(groups)} clusters, by their uuids" if len(groups) > 1 else ""
    return tuple(
        (report.left_incomplete or (unlike if report.group else "")) if is_silent else ""
        for is_silent, report in zip(silent, reports, strict=True)
    )


async def approval(restore: Restore, plan: Plan, manifest: Manifest, room: Room) -> None:
    """Phase approve, where the request asks for it; then a look at the volumes again, as it may have taken a day.

    Errors: `RestoreRejected`, `PreflightRefused`, `NotEnoughSpace`.
    """
    request = restore.request
    if not request.require_approval:
        return
    restore.work.enter("approve", "the plan waits for the update approve or reject; nothing was changed")
    answer = await restore.questions.approval(request.approval_timeout)
    restore.work.progress.fact("approved by", f"{answer.who}: {answer.why}")
    reports = await _check_claims(plan, plan.claims, "again")
    refuse(_of_volumes(request, plan, manifest, reports), "restore", request)
    _require_room(_obstacles(plan, room, manifest.room_kb, reports), request, manifest, room)


def _of_volumes(request: RestoreRequest, plan: Plan, manifest: Manifest, reports: list[CheckReport]) -> list[Finding]:
    said, staged = request.data_directory is not None, request.strategy == Strategy.STAGED
    found = list(volumes(plan.claims, reports, manifest.layout, said=said, staged=staged))
    if not all(claim.layout.asked for claim in plan.claims):
        found += left_elsewhere(manifest.layout, plan.seen.planned)
    return found


def _require_room(obstacles: tuple[str, ...], request: RestoreRequest, manifest: Manifest, room: Room) -> None:
    if obstacles:
        raise NotEnoughSpace(
            f"restoring {manifest.backup_id!r} into {str(request.cluster)!r}: {'; '.join(obstacles)}. "
            f"Nothing was changed and the database is up; {room.way_out}"
        )


async def check_unchanged(restore: Restore, plan: Plan) -> Plan:
    """Right before the stop: the cluster is the one of the plan. Errors: `RestoreFailed`, `ClusterUnhealthy`."""
    plan = await check_same(restore.request, restore.work, plan)
    if plan.clone is not None:
        await clones.check_apart(restore.request.site, plan.clone)
    return plan


async def check_same(request: OutageRequest, work: Work, plan: Plan) -> Plan:
    """What the preflight demands still holds, and replicas and claims are those of the plan.

    Answers the plan with what its group and its first replica are by now.

    Errors: `PreflightRefused`, `RestoreFailed`.
    """
    seen = await look_before(request, work)
    changed = changed_since(plan.seen, seen)
    if changed is not None:
        operation = "rollback" if plan.recipe.is_rollback else "restore"
        raise RestoreFailed(
            f"{changed}, unlike when the {operation} was planned. The cluster was not touched. See who changed it, and "
            f"what its claims hold, before you start another {operation}"
        )
    return plan.with_group(seen)


async def inspect_claim(plan: Plan, claim: ClaimObservation, name: str, summary: str) -> Inspection:
    """What this restore has on a data volume, read beside its replica where that runs.

    `name` is a part of the pod's name. Error: `RestoreFailed`, when it cannot be told.
    """
    job = InspectJob(cluster=plan.seen.cluster, restore_id=plan.restore_id)
    replica = plan.replica_of(claim)
    task = plan.pods.beside(f"{name}-{claim.ordinal}", job, CHECK_LIMIT, claim=claim.claim, replica=replica)
    return (await _runner.run(task, summary)).report


async def _place(
    plan: Plan, reports: list[CheckReport], manifest: Manifest, *, said: bool
) -> tuple[Plan, list[CheckReport]]:
    """The plan with the places of the data that no server has said; what lies at another place is looked at again."""
    before = plan.claims
    plan = plan.with_layouts(placed(before, reports, manifest.layout, said=said))
    for number, claim in enumerate(plan.claims):
        if claim.layout.data_directory != before[number].layout.data_directory:
            reports[number] = await _check_claim(plan, claim, None, "place")
    return plan, reports


def _pin(plan: Plan, request: RestoreRequest) -> Pin | None:
    """The retention of a clone's source must not remove the backup until it is unpacked on every volume."""
    if plan.clone is None:
        return None
    waits = request.approval_timeout if request.require_approval else timedelta(0)
    return Pin(restore_id=plan.restore_id, lifetime=CHECK_LIMIT + waits + 2 * request.runner_timeout)


async def _check_claims(plan: Plan, claims: Sequence[ClaimObservation], name: str) -> list[CheckReport]:
    """What lies on the volumes, and how much room; at once, if no pod has to wait for the backup claim."""
    return await for_each(claims, lambda claim: _check_claim(plan, claim, None, name), in_turn=plan.seen.in_turn)


async def _check_claim(
    plan: Plan, claim: ClaimObservation, backup_id: str | None, name: str = "check", pin: Pin | None = None
) -> CheckReport:
    """`backup_id`: verify that backup too, and pin it. `name` is a part of the pod's name."""
    summary = f"verify {backup_id}, room on {claim.claim}" if backup_id else f"room on {claim.claim}"
    unpacks = plan.recipe.strategy != Strategy.STAGED
    job = CheckJob(cluster=plan.seen.cluster, clone=plan.clone, backup_id=backup_id, unpacks_backup=unpacks, pin=pin)
    replica = plan.replica_of(claim)
    task = plan.pods.beside(f"{name}-{claim.ordinal}", job, CHECK_LIMIT, claim=claim.claim, replica=replica)
    return (await _runner.run(task, summary)).report


def _obstacles(plan: Plan, room: Room, data_kb: int, reports: list[CheckReport]) -> tuple[str, ...]:
    found = [
        room.lacking_on_data_volume(report, data_kb, claim.claim)
        for claim, report in zip(plan.claims, reports, strict=True)
    ]
    if room.lacking_on_backup_volume is not None:
        found.insert(0, room.lacking_on_backup_volume(reports[0], data_kb, plan.recipe.site.backup_claim))
    return tuple(each for each in found if each)


def _described(
    plan: Plan, manifest: Manifest, reports: list[CheckReport], obstacles: tuple[str, ...], copies: int
) -> RestorePlan:
    """For the query `plan`."""
    return RestorePlan(
        cluster=plan.seen.cluster,
        source=plan.clone.source if plan.clone is not None else None,
        strategy=plan.recipe.strategy,
        backup_id=manifest.backup_id,
        position=manifest.position,
        server_version=manifest.server_version,
        data_bytes=manifest.data_bytes,
        problems=manifest.problems,
        replicas=plan.recipe.replicas,
        claims=tuple(
            ClaimPlan(
                claim=claim.claim, free_kb=report.data_free_kb, total_kb=report.data_total_kb, left_incomplete=left
            )
            for claim, report, left in zip(plan.claims, reports, plan.recipe.left_incomplete, strict=True)
        ),
        in_turn=plan.seen.in_turn,
        obstacles=obstacles,
        expected_outage_seconds=expected_outage(manifest.data_bytes, copies),
    )


def _show(plan: RestorePlan, progress: ProgressReport) -> None:
    outage = f"outage of about {plan.expected_outage_seconds:.0f} s"
    progress.fact("backup's position", f"`{plan.position}`, MariaDB {plan.server_version}")
    progress.fact("data", f"{plan.data_bytes:,} bytes")
    if plan.problems:
        progress.fact("problems of the backup", "; ".join(plan.problems))
    progress.fact("strategy", f"{plan.strategy}, for {plan.replicas} replicas; {outage}")
    free = ", ".join(f"`{each.claim}` {each.free_kb:,} of {each.total_kb:,}" for each in plan.claims)
    progress.fact("KB free", free)
    for each in plan.claims:
        if each.left_incomplete:
            progress.fact(f"`{each.claim}`", f"no server may start on it: {each.left_incomplete}")
