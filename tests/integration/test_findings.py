"""What others make of a cluster is found before anything is changed, on the real API server and servers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.console import StackError, run
from galera_backup.models.check import CheckResult
from galera_backup.models.manifest import Manifest
from galera_backup.models.plan import Answer
from tests.integration import changes
from tests.integration.changes import Change
from tests.integration.clients import pinging
from tests.integration.galera import BACKUPS, OTHER, PODS, TARGET, Galera, data_directory, stored_manifests
from tests.integration.operations import Operations, activities_of, failure_of, in_phase
from tests.support.eventually import eventually

BOTH = {"backup", "restore"}
FUTURE = "20990101T000000Z-full"


def kinds(seen: CheckResult) -> set[str]:
    return {each.kind for each in seen.findings}


def refused(seen: CheckResult) -> set[str]:
    return {each for each in ("backup", "restore") if seen.refuses(each)}


@pytest.mark.parametrize(
    ("change", "expected", "refuses"),
    [
        (changes.scaling_deletes_claims, {"claims-deleted-by-scaling"}, {"restore"}),
        (changes.owned_claim, {"claim-owned"}, {"restore"}),
        (changes.sharing_pod, {"claim-shared"}, {"restore"}),
        (changes.controller, {"controlled"}, {"restore"}),
        (changes.delivered, {"delivered"}, {"restore"}),
        (changes.autoscaler, {"autoscaled"}, {"restore"}),
        (changes.rollout_by_hand, {"template-has-another-image"}, {"restore"}),
        (changes.disruption_budget, {"disruption-budget"}, set()),
        (changes.small_limit, {"server-pod-refused", "memory-limited"}, BOTH),
        (changes.policy_against_scaling, {"scaling-refused"}, {"restore"}),
        (changes.first_desynced, {"first-not-in-sync"}, BOTH),
        (changes.small_quota, {"quota-exceeded"}, BOTH),
        (changes.few_connections, {"connections-too-few"}, {"backup"}),
        (changes.fewer_grants, {"grants-missing"}, {"backup"}),
        (changes.other_password, {"log-in", "group-unknown"}, BOTH),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_a_check_finds_it(
    galera: Galera, operations: Operations, change: Change, expected: set[str], refuses: set[str]
) -> None:
    before = await operations.check()
    assert refused(before) == set(), before.findings
    with change(galera):
        seen = await operations.check()
    assert kinds(seen) - kinds(before) == expected
    assert refused(seen) == refuses


async def test_a_member_of_the_group_that_is_not_the_statefulsets(
    galera: Galera, operations: Operations, stored: str
) -> None:
    with changes.outsider(galera):
        await eventually(lambda: _has_joined(galera), 120, "one more member is in sync")
        address = galera.pod(changes.NAME).status.pod_ip
        seen = await operations.check()
        error = await failure_of(await operations.start_restore(stored))
        backup = await operations.backup()
    assert refused(seen) == {"restore"}
    assert "members-beyond" in kinds(seen)
    assert error.type == "PreflightRefused"
    assert address in error.message
    assert backup.manifest.position.uuid


def _has_joined(galera: Galera) -> bool:
    """The outsider, after a state transfer, for which a replica was out of sync."""
    state = (
        "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_local_state_comment'"
    )
    try:
        states = [galera.root_sql(state, pod).strip() for pod in (changes.NAME, *PODS)]
    except StackError:
        return False
    return states == ["Synced"] * len(states) and all(map(galera.is_ready, PODS))


async def test_what_comes_up_after_the_plan_is_found_before_the_stop(
    galera: Galera, operations: Operations, stored: str
) -> None:
    uids = {pod.metadata.name: pod.metadata.uid for pod in galera.members()}
    with pinging(galera, "mariadb") as pings:
        handle = await operations.start_restore(stored, strategy="staged", require_approval=True)
        await in_phase(handle, "approve")
        with changes.scaling_deletes_claims(galera):
            await handle.execute_update("approve", Answer(who="the tests", why="all is as planned"))
            error = await failure_of(handle)
    assert error.type == "PreflightRefused"
    assert "persistentVolumeClaimRetentionPolicy" in error.message
    assert pings.failures == []
    assert {pod.metadata.name: pod.metadata.uid for pod in galera.members()} == uids


@pytest.fixture
def linked() -> Iterator[Path]:
    """A database whose directory is a link, on the replica that is backed up."""
    link = data_directory(TARGET) / "linked"
    link.symlink_to("/another/volume")
    yield link
    link.unlink()


async def test_a_database_behind_a_link_is_missed_before_the_replica_is_taken_out(
    galera: Galera, operations: Operations, linked: Path
) -> None:
    backup = await operations.start_backup()
    error = await failure_of(backup)
    assert error.type == "PreflightRefused"
    assert linked.name in error.message
    assert "desync" not in [kind for kind, _ in await activities_of(backup)]


@pytest.fixture
def immovable() -> Iterator[Path]:
    """A file in a database of one replica that nothing can rename or remove."""
    path = data_directory(OTHER) / "nova" / "immovable"
    path.touch()
    run("files", ["chattr", "+i", str(path)])
    yield path
    run("files", ["chattr", "-i", str(path)])
    path.unlink()


async def test_data_that_nothing_can_move_is_found_while_the_database_is_up(
    galera: Galera, operations: Operations, stored: str, immovable: Path
) -> None:
    error = await failure_of(await operations.start_restore(stored, strategy="staged"))
    assert error.type == "PreflightRefused"
    assert f"nova/{immovable.name}" in error.message
    assert galera.problems() == []


async def test_an_account_that_cannot_log_in_from_pods_is_found_before_the_replica_is_taken_out(
    galera: Galera, operations: Operations
) -> None:
    with changes.account_of_the_worker(galera):
        backup = await operations.start_backup()
        error = await failure_of(backup)
    assert error.type == "DatabaseRefused"
    assert "from a runner pod" in error.message
    assert "Access denied" in error.message or "not allowed" in error.message
    assert "desync" not in [kind for kind, _ in await activities_of(backup)]


async def test_a_backup_with_a_name_of_the_future(galera: Galera, operations: Operations, stored: str) -> None:
    source, future, before = BACKUPS / stored, BACKUPS / FUTURE, set(stored_manifests())
    shutil.copytree(source, future)
    try:
        manifest = json.loads((future / "manifest.json").read_text()) | {"backup_id": FUTURE}
        (future / "manifest.json").write_text(Manifest.model_validate(manifest).model_dump_json())
        for path in [future, *future.iterdir()]:
            os.chown(path, source.stat().st_uid, source.stat().st_gid)
        result = await operations.backup(backups_to_keep=1)
        assert (BACKUPS / result.manifest.backup_id / "manifest.json").exists()
        assert result.future == (FUTURE,)
        assert set(result.pruned) == before
    finally:
        shutil.rmtree(future)
