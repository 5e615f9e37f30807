"""What was found is told: by a check in spite of what is missing, and by operations that go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from temporalio.client import WorkflowHandle

from galera_backup.models.check import CheckRequest, CheckResult
from galera_backup.models.common import SecretRef
from galera_backup.models.plan import RestorePlan
from galera_backup.models.restore import Strategy
from tests.fakes.stage import BACKUP_ID, Stage
from tests.workflows.test_preflight import CONTROLLER, statefulset


async def check(stage: Stage, request: CheckRequest) -> CheckResult:
    handle: WorkflowHandle[Any, CheckResult] = await stage.start("GaleraCheck", request, CheckResult)
    return await handle.result()


async def test_a_check_goes_on_where_something_is_missing(stage: Stage) -> None:
    """What it was told to find made it fail, and hid all the rest."""
    world = stage.world()
    del world.claims[world.claim_name(2)]
    facts = world.statefulset_facts
    world.statefulset_facts = lambda container: replace(facts(container), user=None)  # type: ignore[method-assign]
    missing = {"missing_claims": (world.claim_name(2),)}
    controlled = statefulset(owners=(CONTROLLER,))
    world.reshape = lambda shape: controlled(shape).model_copy(update=missing)
    no_secret = SecretRef(secret="nobody-made-it")
    found = await check(stage, CheckRequest(cluster=world.cluster, credentials=no_secret))
    kinds = {each.kind for each in found.findings}
    assert kinds == {"claim-missing", "controlled", "account-unknown", "pod-unknown"}
    assert (found.refuses("backup"), found.refuses("restore")) == (True, True)
    assert any("were not looked at" in each for each in found.health)


async def test_a_check_of_another_strategy(stage: Stage) -> None:
    world = stage.world()
    world.refuses_pods = "unpack"
    strategies = {each: await check(stage, CheckRequest(cluster=world.cluster, strategy=each)) for each in Strategy}
    refused = {strategy for strategy, seen in strategies.items() if seen.refuses("restore")}
    assert refused == {Strategy.ROLLING}


async def test_what_was_found_is_told(stage: Stage) -> None:
    """To who approves the plan, and in every result."""
    world = stage.world(backups=(BACKUP_ID,))
    world.reshape = statefulset(owners=(CONTROLLER,))
    world.servers_say = {"hourly_limits": ("MAX_QUERIES_PER_HOUR 100",)}
    backup = await (await stage.backup(world)).result()
    assert [each.partition(":")[0] for each in backup.warnings] == ["hourly-limits"]
    world.copies_may_stay = True
    restore = await stage.restore(world, strategy="staged", accept=["controlled"], keep_previous_for=3600)
    result = await restore.result()
    assert {each.partition(":")[0] for each in result.warnings} == {"hourly-limits", "controlled"}
    plan = await restore.query("plan", result_type=RestorePlan)
    assert {each.kind for each in plan.findings} >= {"hourly-limits", "controlled"}
    rollback = await (await stage.rollback(world, result.restore_id, accept=["controlled"])).result()
    assert {each.partition(":")[0] for each in rollback.warnings} == {"hourly-limits", "controlled"}


async def test_tls_of_the_server_that_is_backed_up(stage: Stage) -> None:
    world = stage.world()
    world.servers_say = {"tls": True}
    await (await stage.backup(world)).result()
    environments = {
        each.name: each.value
        for pod in world.created
        for container in pod.spec.containers
        if "mariadb-backup --defaults-file" in str(container.command)
        for each in container.env
    }
    assert environments["MARIADB_TLS"] == "1"
