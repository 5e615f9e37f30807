"""How this project speaks Temporal: one plugin, one data converter, one way to connect, four search attributes.

Workflow code imports the search attribute keys from here, so importing this module opens no connection and reads no
environment. The client, every worker and the replay tests take the same `plugin()`: nothing can differ between them.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pydantic
from temporalio import envconfig, workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest, DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.plugin import SimplePlugin
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import ExecuteWorkflowInput, Interceptor, WorkflowInboundInterceptor, WorkflowRunner
from temporalio.worker import WorkflowInterceptorClassInput as InterceptorClassInput
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from galera_backup.errors import GaleraBackupError, InvalidInput, TemporalRefused, TemporalUnavailable, bounded

DEFAULT_ADDRESS = "localhost:7233"
CONNECT_SECONDS = 10

_WHERE_TO_LOOK = "check that it runs and that TEMPORAL_ADDRESS, TEMPORAL_TLS and the profile file name it"

# --- search attributes

CLUSTER = SearchAttributeKey.for_keyword("GaleraCluster")
"""`<namespace>/<statefulset>`, on every operation and lease."""
REPLICA = SearchAttributeKey.for_keyword("GaleraReplica")
"""Pod that is backed up."""
BACKUP_ID = SearchAttributeKey.for_keyword("GaleraBackupId")
PHASE = SearchAttributeKey.for_keyword("GaleraPhase")

SEARCH_ATTRIBUTES = (CLUSTER, REPLICA, BACKUP_ID, PHASE)

REGISTER_COMMAND = "temporal operator search-attribute create " + " ".join(
    f"--name {key.name} --type Keyword" for key in SEARCH_ATTRIBUTES
)


# --- data converter


def invalid_input(error: pydantic.ValidationError) -> InvalidInput:
    """Names each wrong field: its path, what was expected and, where that cannot be a secret, what was seen."""
    problems = [f"{field}: {problem}" for field, problem in field_errors(error)]
    return InvalidInput(f"invalid {error.title}: {'; '.join(problems)}")


def field_errors(error: pydantic.ValidationError) -> list[tuple[str, str]]:
    """Path and problem of each wrong field; the path of the whole input is `input`."""
    return [
        (
            ".".join(str(part) for part in found["loc"]) or "input",
            _EXPECTED.get(found["type"], found["msg"]) + _seen(found),
        )
        for found in error.errors(include_url=False, include_context=False)
    ]


_SECRETS = {"credentials", "check_credentials", "accounts"}
_EXPECTED = {"missing": "required, but missing", "extra_forbidden": "there is no such field"}


def _seen(found: Any) -> str:
    """What stood in a wrong field; not in an unknown one nor below `_SECRETS`: people paste passwords there."""
    location, value = found["loc"], found["input"]
    if not location or _SECRETS & set(location) or found["type"] in {"missing", "extra_forbidden", "value_error"}:
        return ""
    if isinstance(value, timedelta):
        return f", got {value.total_seconds():g} seconds"
    if isinstance(value, str | int | float | bool | None):
        return f", got {bounded(repr(value), 80)}"
    return f", got a {type(value).__name__}"


class _Json(PydanticJSONPlainPayloadConverter, WithSerializationContext):
    """JSON of what our own code exchanges: a value that does not fit suspends the workflow until a deploy mends it.

    Making it a failure would be worse: the SDK decodes results of activities and children outside of the workflow's
    coroutine, so such a failure ends the run without its `finally` blocks.
    """

    def with_context(self, context: SerializationContext) -> _Json:
        # The SDK makes a run's own converter before the workflow's code runs, and those for its children inside of it.
        from_people = isinstance(context, WorkflowSerializationContext) and not workflow.in_workflow()
        return _FROM_PEOPLE if from_people else _FROM_US


class _JsonFromPeople(_Json):
    """JSON that a person may have typed (start, update, query): what does not fit is one final, readable error."""

    def from_payload(self, payload: Any, type_hint: type | None = None) -> Any:
        try:
            return super().from_payload(payload, type_hint)
        except pydantic.ValidationError as error:
            raise invalid_input(error) from None


_FROM_US, _FROM_PEOPLE = _Json(), _JsonFromPeople()  # shared by all runs, and so are their caches of type adapters


class GaleraPayloadConverter(CompositePayloadConverter):
    """The SDK's converters, with ours for JSON."""

    def __init__(self) -> None:
        stock = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_FROM_US if isinstance(each, JSONPlainPayloadConverter) else each for each in stock))


data_converter = DataConverter(payload_converter_class=GaleraPayloadConverter)


class _OneInput(WorkflowInboundInterceptor):
    """Refuses a run whose input is missing, doubled or no JSON object: the converter is never asked about these.

    Without this the run hangs with a failing workflow task, because the call of `run` is a TypeError, a bug in Python's
    eyes. A workflow with `@workflow.init` is called before any interceptor, so an operation must not use that.
    """

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        run = inspect.signature(input.run_fn, eval_str=True)
        name, expected = workflow.info().workflow_type, list(run.parameters.values())[1:]
        wanted = ", ".join(_type_name(each.annotation) for each in expected)
        try:
            given = run.bind(None, *input.args).arguments
        except TypeError:
            expectation = f"exactly one input, a JSON object ({wanted})" if len(expected) == 1 else f"({wanted})"
            raise InvalidInput(f"{name} takes {expectation}, got {len(input.args)} inputs") from None
        for each in expected:
            model, value = each.annotation, given.get(each.name, each.default)
            if isinstance(model, type) and issubclass(model, pydantic.BaseModel) and not isinstance(value, model):
                raise InvalidInput(f"{name} takes a JSON object ({wanted}), got {_type_name(type(value))}")
        return await super().execute_workflow(input)


def _type_name(annotation: Any) -> str:
    return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


class _CheckInput(Interceptor):
    def workflow_interceptor_class(self, input: InterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _OneInput


# --- plugin

PASSED_THROUGH = (
    "activities",
    "galera_backup",
    "annotated_types",
    "kubernetes",
    "pydantic",
    "pydantic_core",
    "pymysql",
    "urllib3",
)
"""Modules that workflow code shares with the process instead of importing them anew for each run.

Models must be the same classes on both sides; the clients, which activities import, cannot be loaded in the sandbox."""


def _sandbox(runner: WorkflowRunner | None) -> WorkflowRunner:
    if isinstance(runner, SandboxedWorkflowRunner):
        restrictions = runner.restrictions.with_passthrough_modules(*PASSED_THROUGH)
        return SandboxedWorkflowRunner(restrictions=restrictions, runner_class=runner.runner_class)
    return runner or _sandbox(SandboxedWorkflowRunner())


def plugin() -> SimplePlugin:
    """What makes a client, a worker or a replayer one of ours. Give it to the client: its workers inherit it.

    It names no failure exception types. With `[Exception]` a bad activity result or a deploy that is not deterministic
    would end a run without its `finally`, and leave a replica desynced.
    """
    return SimplePlugin(
        "galera-backup", data_converter=data_converter, interceptors=[_CheckInput()], workflow_runner=_sandbox
    )


# --- connection


@dataclass(frozen=True)
class TemporalAddress:
    """Where the Temporal server is. None: as `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE` and the profile file say.

    The profile file (`TEMPORAL_CONFIG_FILE`) and the variables are those of the `temporal` command line; TLS, API key
    and request metadata can only be given there.
    """

    address: str | None = None
    namespace: str | None = None
    profile: str | None = None

    def resolve(self) -> envconfig.ClientConnectConfig:
        """Arguments of `Client.connect`, with our defaults."""
        try:
            config = envconfig.ClientConfig.load_client_connect_config(self.profile)
        except (RuntimeError, OSError, ValueError) as error:
            raise TemporalRefused(
                f"reading the Temporal profile failed: {error}; check TEMPORAL_PROFILE and TEMPORAL_CONFIG_FILE"
            ) from error
        config["target_host"] = self.address or config.get("target_host") or DEFAULT_ADDRESS
        config["namespace"] = self.namespace or config.get("namespace") or "default"
        return config


async def connect(where: TemporalAddress | None = None, *, runtime: Runtime | None = None) -> Client:
    """A connected client with our plugin.

    Raises `TemporalUnavailable` when waiting may help (nobody answers, the namespace is not there yet) and
    `TemporalRefused` when it will not.
    """
    config = (where or TemporalAddress()).resolve()
    address, namespace = config["target_host"], config["namespace"]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await Client.connect(**config, plugins=[plugin()], runtime=runtime)
    except TimeoutError as error:
        raise TemporalUnavailable(
            f"the Temporal server at {address!r} did not answer within {CONNECT_SECONDS} s; {_WHERE_TO_LOOK}"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise _connect_error(error, address) from error
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        if error.status != RPCStatusCode.PERMISSION_DENIED:  # an authorizer may hide namespaces from us
            raise _rpc_error(error, address, namespace) from error
    return client


def _rpc_error(error: RPCError, address: str, namespace: str) -> GaleraBackupError:
    if error.status == RPCStatusCode.NOT_FOUND:
        return TemporalUnavailable(
            f"the Temporal server at {address!r} has no namespace {namespace!r}; create it with"
            f" `temporal operator namespace create --namespace {namespace}` or name another one (TEMPORAL_NAMESPACE)"
        )
    return TemporalUnavailable(
        f"the Temporal server at {address!r} answered {error.status.name}: {error.message}; is it still starting?"
    )


def _connect_error(error: Exception, address: str) -> GaleraBackupError:
    text = _reason(str(error))
    if "Unauthenticated" in text or "PermissionDenied" in text:
        return TemporalRefused(
            f"the Temporal server at {address!r} refused us: {text}; check TEMPORAL_API_KEY and TEMPORAL_TLS_*"
        )
    if isinstance(error, ValueError):
        return TemporalRefused(f"the Temporal address {address!r} cannot be used: {text}; it is written host:port")
    return TemporalUnavailable(f"no Temporal server can be reached at {address!r}: {text}; {_WHERE_TO_LOOK}")


def _reason(text: str) -> str:
    """The innermost message of an error that the SDK's core wrote in Rust's debug format."""
    messages: list[str] = re.findall(r'(?:message|error): "([^"]+)"', text)
    status = re.search(r"code: (\w+), message", text)
    return f"{status[1] + ': ' if status else ''}{messages[-1]}" if messages else text


# --- registering the search attributes


async def ensure_search_attributes(client: Client, *, patience: float = 30) -> tuple[str, ...]:
    """Register what the namespace lacks of our search attributes; the names that were missing.

    An attribute is there when a query may name it. Asking that way needs no more than the right to list workflows,
    which managed services grant as well; only adding needs an operator. Until an added attribute counts a server may
    take some seconds: at most `patience`.

    Raises `TemporalRefused`, with the command for an operator, when the server does not let us add them.
    """
    missing = [key.name for key in SEARCH_ATTRIBUTES if not await _is_registered(client, key.name)]
    if not missing:
        return ()
    kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=dict.fromkeys(missing, kind))
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status == RPCStatusCode.UNAVAILABLE:
            raise
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise _not_registered(client, missing, f"{error.status.name}: {error.message}") from error
    deadline = time.monotonic() + patience
    while not all([await _is_registered(client, name) for name in missing]):
        if time.monotonic() > deadline:
            raise _not_registered(client, missing, f"still unknown {patience:g} s after they were added")
        await asyncio.sleep(0.2)
    return tuple(missing)


async def _is_registered(client: Client, name: str) -> bool:
    request = CountWorkflowExecutionsRequest(namespace=client.namespace, query=f"{name} = 'registered?'")
    try:
        await client.workflow_service.count_workflow_executions(request)
    except RPCError as error:
        if error.status == RPCStatusCode.INVALID_ARGUMENT:
            return False
        raise
    return True


def _not_registered(client: Client, missing: Iterable[str], why: str) -> TemporalRefused:
    return TemporalRefused(
        f"the namespace {client.namespace!r} lacks the search attributes {', '.join(missing)}, and registering them"
        f" failed ({why}); an operator of the Temporal server can: {REGISTER_COMMAND} --namespace {client.namespace}"
    )
