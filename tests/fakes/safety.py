"""What must never happen in a world, and what a finished operation must not leave there."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from galera_backup import names
from galera_backup.models.jobs import BackupJob, EmptyJob, RestoreJob, SwapJob
from galera_backup.models.restore import Strategy
from tests.fakes.member import Member
from tests.fakes.runner import RunnerPod

if TYPE_CHECKING:
    from tests.fakes.world import World

WRITES_DATA = RestoreJob | SwapJob | EmptyJob
"""Jobs on the volume of a stopped replica."""


def faults_left(world: World) -> list[str]:
    """What a finished operation must not leave."""
    found = [f"runner pod {pod.name}" for pod in world.present_runners()]
    found += [f"restore {restore_id} unpacked" for _, restore_id in world.volume.unpacked]
    found += [f"the name {name} is held" for name in world.holds]
    if names.LEASE_ANNOTATION in world.statefulset.annotations:
        found.append("mark on the StatefulSet")
    for claim in world.claims.values():
        copied = claim.journal is not None or claim.staged or claim.previous
        if copied and not world.copies_may_stay:
            found.append(f"copies of the data on {claim.name}")
    for member in world.members.values():
        if names.LEASE_ANNOTATION in member.annotations:
            found.append(f"mark on {member.name}")
        if member.desync or member.late or member.state != 4:
            found.append(f"{member.name} desynced")
        if not member.ready:
            found.append(f"{member.name} Not Ready")
        missing = [name for name in world.selecting(member.labels) if name not in world.listing(member.name)]
        if missing:
            found.append(f"{member.name} not in {missing}")
    return found


def check_scale(world: World, replicas: int) -> None:
    """No replica starts while a runner pod writes."""
    working = [pod.name for pod in world.runners.values() if pod.working and isinstance(pod.job, WRITES_DATA)]
    if replicas and working:
        world.violations.append(f"scaled up while {working} worked")


def check_start(world: World, member: Member, data: Set[str]) -> bool:
    """A member starts where no runner pod works, on `data` of one kind; whether its server can run on that."""
    fits = "incomplete" not in data and len(data) == 1
    if not fits:
        world.violations.append(f"{member.name} started beside {sorted(data)}")
    working = [pod.name for pod in world.runners.values() if pod.working and member in _in_the_way(world, pod)]
    if working:
        world.violations.append(f"{member.name} started while {working} worked")
    return fits


def check_runner(world: World, pod: RunnerPod) -> None:
    """A backup reads a desynced replica; a restore writes to volumes that nobody else uses."""
    if isinstance(pod.job, BackupJob):
        member = world.members.get(pod.job.replica)
        if member is None or not (member.desync or pod.job.in_service):
            world.violations.append(f"{pod.name} worked on {pod.job.replica} in sync")
    if isinstance(pod.job, WRITES_DATA):
        in_the_way = [member.name for member in _in_the_way(world, pod)]
        if in_the_way:
            world.violations.append(f"{pod.name} wrote while {in_the_way} ran")
        others = [
            each.name
            for each in world.runners.values()
            if each.working and each is not pod and (each.claim is pod.claim or isinstance(pod.job, RestoreJob))
        ]
        if others:
            world.violations.append(f"{pod.name} wrote beside {others}")


def _in_the_way(world: World, pod: RunnerPod) -> list[Member]:
    """Members that must not run while this pod works: none may but in a rolling restore those that are restored,
    below its claim."""
    if not isinstance(pod.job, WRITES_DATA):
        return []
    job = pod.job
    if world.statefulset.strategy != Strategy.ROLLING or not isinstance(job, RestoreJob):
        return list(world.members.values())
    return [
        member
        for member in world.members.values()
        if member.ordinal >= job.ordinal or world.claims[world.claim_name(member.ordinal)].data != job.backup_id
    ]
