"""The plugin that makes a client, a worker or a replayer one of ours: converter, sandbox and a check of inputs."""

from __future__ import annotations

import inspect
from typing import Any

import pydantic
from temporalio import workflow
from temporalio.plugin import SimplePlugin
from temporalio.worker import ExecuteWorkflowInput, Interceptor, WorkflowInboundInterceptor, WorkflowRunner
from temporalio.worker import WorkflowInterceptorClassInput as InterceptorClassInput
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from galera_backup.errors import InvalidInput
from galera_backup.temporal.converter import data_converter


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
"""Modules that workflow code shares with the process instead of importing them again for each run.

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
