"""The fakes have the methods of the real gateways, with the same signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from galera_backup.kube.gateway import KubeGateway
from galera_backup.mysql.gateway import MysqlGateway
from tests.fakes.gateways import FakeKube, FakeMysql


def methods(gateway: type) -> dict[str, inspect.Signature]:
    """Public methods; annotations resolved, so that a renamed model is no difference and another type is one."""
    functions: list[tuple[str, Callable[..., Any]]] = inspect.getmembers(gateway, inspect.isfunction)
    return {
        name: inspect.signature(inspect.unwrap(method), eval_str=True)
        for name, method in functions
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("fake", "real"), [(FakeKube, KubeGateway), (FakeMysql, MysqlGateway)])
def test_same_signatures(fake: type, real: type) -> None:
    assert methods(fake) == methods(real)
