"""What `workflow_types` says of a workflow type is what its workflow takes and returns."""

from __future__ import annotations

import inspect
from types import NoneType
from typing import Any

import pytest
from temporalio import workflow

from galera_backup import workflow_types
from galera_backup.workflow_types import WorkflowType
from workflows.operation import Operation
from workflows.registry import GUARDS, OPERATIONS

TYPES = [each for each in vars(workflow_types).values() if isinstance(each, WorkflowType)]
CLASSES: dict[str, type[Any]] = {
    workflow._Definition.must_from_class(each).name or "": each for each in (*OPERATIONS, *GUARDS)
}


def test_each_workflow_has_a_type() -> None:
    assert sorted(CLASSES) == sorted(each.name for each in TYPES)
    assert len({each.word for each in TYPES}) == len(TYPES)


def test_operations_are_those_that_hold_a_cluster() -> None:
    assert {each.name for each in workflow_types.OPERATIONS} == {
        name for name, each in CLASSES.items() if issubclass(each, Operation)
    }


@pytest.mark.parametrize("workflow_type", TYPES, ids=str)
def test_request_and_result(workflow_type: WorkflowType[Any, Any]) -> None:
    signature = inspect.signature(CLASSES[workflow_type.name].run, eval_str=True)
    _, request = signature.parameters.values()
    assert request.annotation is workflow_type.request
    assert (signature.return_annotation or NoneType) is workflow_type.result
