"""Each test of a gateway runs on a fake cluster, and with the mark `integration` on the one of dev/up.

These tests run in the process that pytest was started in, before the lanes of tests/integration begin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract import clusters
from tests.contract.clusters import Subject
from tests.support.eventually import eventually


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """A cluster that is whole, and is made whole again after the test."""
    if request.param == "fake":
        yield clusters.fake()
        return
    subject, before = clusters.real(), clusters.Before()
    await eventually(subject.is_whole, 60, "the cluster is whole before the test")
    yield subject
    await before.put_back(subject)
