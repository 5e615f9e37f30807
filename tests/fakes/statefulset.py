"""The StatefulSet of a world, and its controller: one pod at a time, up in order, down in reverse order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from galera_backup import names
from galera_backup.kube.facts import StatefulSetFacts
from galera_backup.marks import check_overwrite
from galera_backup.models.mark import Mark
from galera_backup.models.restore import Strategy
from galera_backup.rules.formed import RESTARTS
from tests.fakes import safety
from tests.fakes.member import Member
from tests.fakes.volumes import Claim

if TYPE_CHECKING:
    from tests.fakes.world import World


@dataclass
class StatefulSet:
    """`spec.replicas`, annotations and the resource version that a patch must name."""

    replicas: int
    annotations: dict[str, str] = field(default_factory=dict)
    version: int = 1
    strategy: Strategy | None = None
    """Of the restore that has scaled it last; remembered when somebody removes its mark."""


class Controller:
    """Makes the members what the StatefulSet says."""

    def __init__(self, world: World) -> None:
        self._world = world

    def reconcile_soon(self) -> None:
        """After a change of the StatefulSet or of a member."""
        self._world.time.after(self._world.delays.pod, self._reconcile)

    def _reconcile(self) -> None:
        world = self._world
        present = sorted(world.members.values(), key=lambda member: member.ordinal)
        if any(member.deleting for member in present):
            return
        surplus = [member for member in present if member.ordinal >= world.statefulset.replicas]
        if surplus:
            self.delete(surplus[-1])
            return
        for ordinal in range(world.statefulset.replicas):
            member = world.members.get(names.pod(world.cluster, ordinal))
            if member is None:
                if names.pod(world.cluster, ordinal) not in world.holds:  # else it backs off until it is woken
                    self.create(ordinal)
                return
            if not member.ready and not member.desync:  # one that is desynced does not hold up others
                return

    def delete(self, member: Member) -> None:
        """It is told to go, its server ends, it is gone."""
        member.deleting, member.ready, member.up = True, False, False
        member.version += 1
        member.follow_labels()
        pod_delay = self._world.delays.pod
        self._world.time.after(pod_delay / 2, lambda: setattr(member, "ended", True))
        self._world.time.after(pod_delay, lambda: self._gone(member))

    def _gone(self, member: Member) -> None:
        world = self._world
        if world.members.get(member.name) is member:
            del world.members[member.name]
            world.events.append(f"{member.name} gone")
            if not world.members:
                world.claims[world.claim_name(member.ordinal)].left_last(killed=world.kills_the_last)
        self.reconcile_soon()

    def create(self, ordinal: int) -> None:
        """A member with the template's labels, on the data of its claim."""
        world = self._world
        claim = world.claims.setdefault(world.claim_name(ordinal), Claim(world.claim_name(ordinal)))
        member = world.new_member(ordinal, {})
        world.members[member.name] = member
        world.events.append(f"{member.name} created on {claim.data}")
        data = {world.claims[world.claim_name(each.ordinal)].data for each in world.members.values()}
        if claim.data == "empty" and ordinal > 0 and len(data) == 2:
            data.discard("empty")
            [claim.data] = data
            world.events.append(f"state transfer to {member.name}")
        if not safety.check_start(world, member, data):
            member.up = False
        if ordinal in world.never_ready or claim.data in world.never_ready_on:
            member.up = False
        if len(world.members) == 1 and claim.was_killed and not claim.safe_to_bootstrap:
            world.events.append(f"{member.name} may not form the cluster")
            member.up = False
        if claim.data in world.ends_on:
            member.up, member.restarts = False, RESTARTS
        member.follow_state()


def annotated(facts: StatefulSetFacts, mark: Mark | None, verb: str, revoked_run: str | None) -> dict[str, str]:
    """Of the StatefulSet, with this mark, and a note of a run of a lease that may not change it any more."""
    check_overwrite(facts.annotations, mark, f"{verb} StatefulSet {str(facts.cluster)!r}")
    annotations = {name: text for name, text in facts.annotations.items() if name != names.LEASE_ANNOTATION}
    if mark is not None:
        annotations[names.LEASE_ANNOTATION] = mark.model_dump_json()
    if revoked_run is not None:
        annotations[names.LAST_LEASE_ANNOTATION] = revoked_run
    return annotations
