"""The plugin, the converter and the connection, against a real Temporal server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pydantic
import pytest
import pytest_asyncio
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from galera_backup.errors import TemporalRefused, TemporalUnavailable
from galera_backup.models.backup import BackupRequest
from galera_backup.models.common import ClusterRef, PhaseTime
from galera_backup.temporal.attributes import SEARCH_ATTRIBUTES, ensure_search_attributes
from galera_backup.temporal.connect import TemporalAddress, connect
from galera_backup.temporal.converter import data_converter
from galera_backup.temporal.plugin import plugin
from galera_backup.text import field_errors

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
GOOD = {"cluster": {"namespace": "openstack", "statefulset": "mariadb-server"}}


@workflow.defn(name="TestOperation")
class Operation:
    """Stands in for a backup: takes what a person typed."""

    @workflow.run
    async def run(self, request: BackupRequest) -> str:
        return str(request.cluster)


@workflow.defn(name="TestHolder")
class Holder:
    """Stands in for a lease: takes orders by signal, answers questions and updates."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    @workflow.signal
    def order(self, phase: PhaseTime) -> None:
        self._seconds.append(phase.seconds)

    @workflow.update
    async def change(self, phase: PhaseTime) -> float:
        return phase.seconds

    @workflow.run
    async def run(self) -> list[float]:
        await workflow.wait_condition(lambda: bool(self._seconds))
        return self._seconds


@workflow.defn(name="TestChild")
class Child:
    @workflow.run
    async def run(self) -> dict[str, str]:
        return {"phase": "check", "seconds": "not a number"}


@activity.defn(name="test-bad-result")
async def bad_result() -> dict[str, str]:
    return {"phase": "check", "seconds": "not a number"}


@workflow.defn(name="TestReader")
class Reader:
    """Reads a result of an activity or a child that does not fit its model, as after an incompatible deploy."""

    @workflow.run
    async def run(self, source: str) -> None:
        if source == "activity":
            await workflow.execute_activity(
                "test-bad-result", result_type=PhaseTime, start_to_close_timeout=timedelta(seconds=10)
            )
        else:
            child = f"{workflow.info().workflow_id}-child"
            await workflow.execute_child_workflow("TestChild", result_type=PhaseTime, id=child)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def queue(temporal_env: WorkflowEnvironment) -> AsyncIterator[str]:
    name = f"temporal-{uuid.uuid4()}"
    async with Worker(
        temporal_env.client,
        task_queue=name,
        workflows=[Operation, Holder, Child, Reader],
        activities=[bad_result],
        graceful_shutdown_timeout=timedelta(0),
    ):
        yield name


async def start(client: Client, queue: str, name: str, *args: Any) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(name, args=args, id=f"test-{uuid.uuid4()}", task_queue=queue)


async def failure(client: Client, queue: str, *args: Any) -> ApplicationError:
    """Why a run of the stand-in with these inputs failed. It must fail at once: a hanging one fails the test."""
    handle = await start(client, queue, "TestOperation", *args)
    with pytest.raises(WorkflowFailureError) as error:
        await asyncio.wait_for(handle.result(), 15)
    assert isinstance(error.value.cause, ApplicationError)
    return error.value.cause


async def test_good_input_runs(temporal_env: WorkflowEnvironment, queue: str) -> None:
    handle = await start(temporal_env.client, queue, "TestOperation", GOOD)
    assert await handle.result() == "openstack/mariadb-server"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param((), ["TestOperation takes exactly one input", "BackupRequest", "got 0 inputs"], id="none"),
        pytest.param((GOOD, GOOD), ["exactly one input", "got 2 inputs"], id="two"),
        pytest.param((None,), ["JSON object (BackupRequest)", "got null"], id="null"),
        pytest.param(({},), ["invalid BackupRequest", "cluster: required, but missing"], id="empty"),
        pytest.param(("text",), ["invalid BackupRequest", "input: "], id="text"),
        pytest.param(([1],), ["invalid BackupRequest", "input: "], id="list"),
        pytest.param(({**GOOD, "backups_to_keep": "many"},), ["backups_to_keep: ", "integer", "got 'many'"], id="type"),
        pytest.param(({**GOOD, "keep": 3},), ["keep: there is no such field"], id="unknown"),
        pytest.param(({"cluster": "a/b"},), ["cluster: ", "got 'a/b'"], id="cluster as text"),
        pytest.param(
            ({"cluster": {"namespace": "Open Stack"}, "drain_timeout": 0, "replica": -1},),
            ["cluster.namespace: ", "cluster.statefulset: required", "drain_timeout: ", "got 0", "replica: ", "got -1"],
            id="all at once",
        ),
    ],
)
async def test_bad_input_fails_at_once_and_names_every_wrong_field(
    temporal_env: WorkflowEnvironment, queue: str, args: tuple[Any, ...], said: list[str]
) -> None:
    error = await failure(temporal_env.client, queue, *args)
    assert error.type == "InvalidInput"
    assert error.non_retryable
    for part in said:
        assert part in error.message


async def test_json_null_is_refused_too(temporal_env: WorkflowEnvironment, queue: str) -> None:
    """`--input null` of the command line is JSON, unlike None of the SDK."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"null")
    error = await failure(temporal_env.client, queue, RawValue(payload))
    assert error.type == "InvalidInput"


@pytest.mark.parametrize(
    "request_",
    [
        {**GOOD, "password": "hunter2"},
        {**GOOD, "credentials": "hunter2"},
        {**GOOD, "credentials": {"secret": "hunter2 "}},
    ],
)
async def test_what_may_be_a_password_is_not_repeated(
    temporal_env: WorkflowEnvironment, queue: str, request_: dict[str, Any]
) -> None:
    handle = await start(temporal_env.client, queue, "TestOperation", request_)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    closed = (await handle.fetch_history()).events[-1]
    assert "InvalidInput" in str(closed)
    assert "hunter2" not in str(closed)


@pytest.mark.parametrize("source", ["activity", "child"])
async def test_a_result_that_does_not_fit_suspends_the_run(
    temporal_env: WorkflowEnvironment, queue: str, source: str
) -> None:
    """A failure would close the run without its `finally`; a suspended one is mended by the next deploy."""
    handle = await start(temporal_env.client, queue, "TestReader", source)
    seen: set[int] = set()
    async with asyncio.timeout(20):
        while EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in seen:
            await asyncio.sleep(0.1)
            seen = {event.event_type for event in (await handle.fetch_history()).events}
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
    await handle.terminate()


async def test_a_bad_message_harms_nobody(temporal_env: WorkflowEnvironment, queue: str) -> None:
    """A bad signal is dropped, a bad update is refused with the reason; the run goes on."""
    handle = await start(temporal_env.client, queue, "TestHolder")
    await handle.signal("order", {"phase": "check", "seconds": "many"})
    with pytest.raises(WorkflowUpdateFailedError) as error:
        await handle.execute_update("change", {"phase": "check", "seconds": "many"})
    assert isinstance(error.value.cause, ApplicationError)
    assert "seconds: " in error.value.cause.message
    await handle.signal("order", PhaseTime(phase="check", seconds=2))
    assert await asyncio.wait_for(handle.result(), 15) == [2]


def test_models_survive_the_converter() -> None:
    request = BackupRequest(cluster=CLUSTER, runner_timeout=timedelta(hours=2))
    converter = data_converter.payload_converter
    [payload] = converter.to_payloads([request])
    assert converter.from_payload(payload, BackupRequest) == request


def test_field_errors_of_a_list_name_the_place() -> None:
    class Numbers(pydantic.BaseModel):
        values: list[int]

    with pytest.raises(pydantic.ValidationError) as error:
        Numbers.model_validate({"values": [1, {}]})
    [(place, problem)] = field_errors(error.value)
    assert place == "values.1"
    assert problem.endswith("got a dict")


async def test_the_plugin_asks_for_no_failure_exception_types() -> None:
    assert plugin().workflow_failure_exception_types is None


async def test_connect(temporal_env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_env.client.service_client.config.target_host)
    client = await connect()
    assert client.namespace == "default"
    assert client.data_converter is data_converter


async def test_connect_says_who_does_not_answer() -> None:
    with pytest.raises(TemporalUnavailable, match=r"'localhost:1': Connection refused; check .*TEMPORAL_ADDRESS"):
        await connect(TemporalAddress("localhost:1"))


async def test_connect_says_that_the_namespace_is_missing(temporal_env: WorkflowEnvironment) -> None:
    address = temporal_env.client.service_client.config.target_host
    with pytest.raises(TemporalUnavailable, match="no namespace 'elsewhere'; create it with"):
        await connect(TemporalAddress(address, namespace="elsewhere"))


async def test_a_profile_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TemporalRefused, match="TEMPORAL_PROFILE"):
        await connect(TemporalAddress(profile="nobody"))


async def test_search_attributes_are_registered_once(temporal_cli: str) -> None:
    """On a server of its own: the shared one has them from the start."""
    start_server = WorkflowEnvironment.start_local(dev_server_existing_path=temporal_cli, plugins=[plugin()])
    async with await start_server as environment:
        every = tuple(key.name for key in SEARCH_ATTRIBUTES)
        assert await ensure_search_attributes(environment.client) == every
        assert await ensure_search_attributes(environment.client) == ()
