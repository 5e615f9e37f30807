"""The plan: what a restore or rollback is going to do with which cluster. Nothing is changed while it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from temporalio import workflow

from workflows.observe import observe
from workflows.operation import Work
from workflows.pods import Pods
from workflows.preflight import preflight
from workflows.restore import clone as clones
from workflows.restore.questions import Questions

with workflow.unsafe.imports_passed_through():
    from galera_backup import names
    from galera_backup.errors import InvalidInput
    from galera_backup.models.clone import Clone
    from galera_backup.models.cluster import ClaimObservation, ClusterObservation
    from galera_backup.models.common import LeaseRef
    from galera_backup.models.layout import Layout
    from galera_backup.models.lease import CleanUpCommand, StopCommand
    from galera_backup.models.manifest import Manifest
    from galera_backup.models.mark import StartRecipe
    from galera_backup.models.proof import Proof
    from galera_backup.models.restore import ClaimRestore, OutageRequest, RestoreRequest, Strategy
    from galera_backup.models.trial import Way
    from galera_backup.rules.formed import uuid_of
    from galera_backup.rules.health import first_in_sync
    from galera_backup.rules.selection import primary_pod
    from galera_backup.show import members_table


@dataclass(frozen=True)
class Restore:
    """One running restore: what each of its steps works with."""

    request: RestoreRequest
    work: Work
    questions: Questions

    async def clean_up(self, plan: Plan, what: str) -> None:
        """Phase tidy: what earlier restores left goes now, and what this one leaves at the end of the lease.

        Error: `RestoreFailed`.
        """
        self.work.enter("tidy", what)
        command = CleanUpCommand.of(plan.recipe, self.request.keep_previous_for)
        await self.work.lease.clean_up(command)


@dataclass(frozen=True)
class Plan:
    """Which cluster was seen, and what is going to be done with it."""

    seen: ClusterObservation
    stop: StopCommand
    pods: Pods

    @property
    def recipe(self) -> StartRecipe:
        """How the cluster is started again."""
        return self.stop.recipe

    @property
    def claims(self) -> tuple[ClaimObservation, ...]:
        """Data claims by ordinal."""
        return self.seen.claims

    @property
    def restore_id(self) -> str:
        """Of the restore that is done, or undone."""
        return self.recipe.restore_id

    @property
    def clone(self) -> Clone | None:
        """The identity of the new cluster, when the backup is another cluster's."""
        return self.recipe.clone

    def with_left_incomplete(self, left: tuple[str, ...]) -> Plan:
        """The same, and what earlier restores have left on each claim."""
        before = self.recipe.replicas_before
        if any(left[:before]):  # the others are kept from running, whatever the StatefulSet wants
            before = len(tuple(takewhile(lambda member: member.exists, self.seen.members)))
        return self._with(left_incomplete=left, replicas_before=before)

    def with_group(self, seen: ClusterObservation) -> Plan:
        """The same, with what the cluster and its first replica are now."""
        running = "uuid" if self.recipe.is_rollback else "previous_uuid"
        uuid = uuid_of(seen) or getattr(self.recipe, running)
        return self._with(first_in_sync=first_in_sync(seen), **{running: uuid})

    def with_previous_uuid(self, uuid: str | None) -> Plan:
        """The same, with what the previous data says of itself."""
        return self._with(previous_uuid=uuid)

    def with_server_volumes(self, volumes: tuple[str, ...]) -> Plan:
        """The same, with these volumes too whose files the tools need."""
        return self._with(server_volumes=tuple(sorted({*self.recipe.server_volumes, *volumes})))

    def with_layouts(self, layouts: tuple[Layout, ...]) -> Plan:
        """The same, with the places of the data on each claim."""
        claims = [each.model_copy(update={"layout": place}) for each, place in zip(self.claims, layouts, strict=True)]
        seen = self.seen.model_copy(update={"claims": tuple(claims)})
        return replace(self._with(layouts=layouts), seen=seen)

    def _with(self, **changes: Any) -> Plan:
        """The same, with these changes of its recipe."""
        recipe = self.recipe.model_copy(update=changes)
        return replace(
            self, stop=self.stop.model_copy(update={"recipe": recipe}), pods=replace(self.pods, recipe=recipe)
        )

    def replica_of(self, claim: ClaimObservation) -> str | None:
        """The pod that uses the claim; None: it does not run."""
        member = self.seen.member(claim.ordinal)
        return member.pod if member.node else None


@dataclass(frozen=True)
class Restored:
    """What a strategy has done."""

    plan: Plan
    manifest: Manifest
    claims: list[ClaimRestore]
    proof: Proof | None = None
    kept_despite: str | None = None
    """What failed after the start, when a person decided to keep the restored data nevertheless."""


async def plan_restore(restore: Restore) -> Plan:
    """Phases plan and, for a clone, apart. Errors: `ClusterNotFound`, `InvalidInput`, `ClusterUnhealthy`."""
    request, work = restore.request, restore.work
    restore_id = names.timestamp(workflow.now()).lower()  # under the lease: no other restore of this cluster has it
    work.enter("plan", "looking at the StatefulSet and its claims")
    work.progress.backup(request.backup_id)
    seen = await look_before(request, work)
    uuid = str(workflow.uuid4())
    clone = Clone(source=request.source, uuid=uuid) if request.source is not None else None
    stop = stop_command(
        request,
        seen,
        restore_id,
        request.strategy,
        backup_id=request.backup_id,
        clone=clone,
        uuid=uuid,
        keeps_previous=bool(request.keep_previous_for),
    )
    work.progress.fact("identity of the restored data", f"`{uuid}`")
    if clone is not None:
        work.enter("apart", f"seeing that it is not, and will not be, in the group of {clone.source}")
        work.progress.fact("source", f"`{clone.source}`: {await clones.check_apart(request.site, clone)}")
    return Plan(seen, stop, pods_of(stop.recipe, work.lease.ref))


def pods_of(recipe: StartRecipe, lease: LeaseRef | None) -> Pods:
    """The pods that work for the operation with this recipe."""
    return Pods(recipe.site, lease, recipe.runner_pod_prefix, recipe)


async def look_before(request: OutageRequest, work: Work) -> ClusterObservation:
    """The cluster with the places of its data, fit for a restore. Error: `PreflightRefused`."""
    before = await preflight(request, _way(request), work.progress, request.replicas)
    return before.placed(await look(request, work))


def _way(request: OutageRequest) -> Way:
    return request.strategy.value if isinstance(request, RestoreRequest) else "rollback"


async def look(request: OutageRequest, work: Work) -> ClusterObservation:
    """The cluster as it is now, shown in the progress."""
    seen = await observe(request, "the StatefulSet, its pods and its data claims", request.replicas)
    work.progress.note(members_table(seen))
    return seen


def stop_command(
    request: OutageRequest,
    seen: ClusterObservation,
    restore_id: str,
    strategy: Strategy,
    *,
    backup_id: str = "",
    clone: Clone | None = None,
    uuid: str | None = None,
    keeps_previous: bool = False,
    is_rollback: bool = False,
) -> StopCommand:
    """How to stop this cluster, and to start it again. Error: `InvalidInput`."""
    replicas, running = _size_of(seen, request), uuid_of(seen)
    recipe = StartRecipe(
        site=request.site,
        strategy=strategy,
        replicas_before=replicas if is_rollback else seen.replicas,
        first_in_sync=first_in_sync(seen),
        replicas=replicas,
        restore_id=restore_id,
        backup_id=backup_id,
        clone=clone,
        uuid=running if is_rollback else uuid,
        previous_uuid=None if is_rollback else running,
        claims=tuple(claim.claim for claim in seen.claims),
        claim_uids=tuple(claim.uid for claim in seen.claims),
        first_ordinal=seen.first_ordinal,
        layouts=tuple(claim.layout for claim in seen.claims),
        nodes=tuple(seen.member(claim.ordinal).node for claim in seen.claims),
        server_volumes=seen.server_volumes,
        runner_pod_prefix=request.runner_pod_prefix,
        primary_pod=primary_pod(seen, request.primary_label) or seen.primary_before,
        first_role=seen.members[0].role if seen.members else None,
        runner_timeout=request.runner_timeout,
        ready_timeout=request.ready_timeout,
        keeps_previous=keeps_previous or is_rollback,
        is_rollback=is_rollback,
    )
    return StopCommand(recipe=recipe, stop_timeout=request.stop_timeout)


def _size_of(seen: ClusterObservation, request: OutageRequest) -> int:
    """Replicas of the cluster when it is started again. Error: `InvalidInput`."""
    if seen.unfinished is not None:
        raise InvalidInput(
            f"cluster: StatefulSet {str(request.cluster)!r} runs with {seen.replicas} of {seen.unfinished} replicas, "
            "as an operation left it, and the claims of the others may hold other data; expected one that is whole. "
            "Run the janitor, which ends that; or scale the StatefulSet to 0 and start this again with "
            f"'replicas': {seen.unfinished}"
        )
    if seen.replicas == 0 and request.replicas is None:
        raise InvalidInput(
            f"replicas: StatefulSet {str(request.cluster)!r} is at 0 replicas; expected the size that the restored "
            "cluster shall have. Set 'replicas' in the request"
        )
    if seen.replicas and request.replicas not in (None, seen.replicas):
        raise InvalidInput(
            f"replicas: expected {seen.replicas}, as StatefulSet {str(request.cluster)!r} says, got "
            f"{request.replicas}. Leave it out, or scale the StatefulSet first"
        )
    return seen.replicas or request.replicas or 0
