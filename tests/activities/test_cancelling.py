"""Cancels and heartbeats of activities, and how a runner pod ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from tests.fakes.bench import Bench
from tests.fakes.faults import Fault, Gate
from tests.fakes.world import RunnerPlan
from tests.support.eventually import assert_eventually

# --- cancellation and heartbeats


@pytest.mark.parametrize(
    ("details", "stays"),
    [
        (ActivityCancellationDetails(cancel_requested=True), False),
        (ActivityCancellationDetails(not_found=True), False),
        (ActivityCancellationDetails(worker_shutdown=True), True),
        (ActivityCancellationDetails(paused=True), True),
        (ActivityCancellationDetails(reset=True), True),
        (ActivityCancellationDetails(timed_out=True), True),
    ],
)
async def test_cancelled_runner(bench: Bench, details: ActivityCancellationDetails, stays: bool) -> None:
    bench.world.plan(RunnerPlan("list", held=True))
    running = asyncio.ensure_future(bench.run(bench.runner.run_runner, bench.job()))
    await assert_eventually(lambda: any("started" in event for event in bench.world.look().events))
    bench.env.cancel(details)
    with pytest.raises(asyncio.CancelledError):
        await running
    if stays:
        assert [pod.working for pod in bench.world.look().present_runners()] == [True]
        bench.world.let_go()
        bench.env = ActivityEnvironment()
        outcome = await bench.run(bench.runner.run_runner, bench.job())
        assert outcome.error is None
    else:
        await assert_eventually(lambda: not list(bench.world.look().present_runners()))
    assert sum("started" in event for event in bench.world.events) == 1


async def test_cancel_waits_for_the_call_under_way(bench: Bench) -> None:
    """What was sent to a server cannot be called back: whoever undoes it must come after it."""
    task = bench.replica()
    await bench.run(bench.galera.mark_replica, task)
    gate = Gate()
    bench.world.faults.add(Fault("set_desync", gate=gate))
    running = asyncio.ensure_future(bench.run(bench.galera.desync, task))
    await assert_eventually(gate.entered.is_set)
    bench.env.cancel(ActivityCancellationDetails(cancel_requested=True))
    await asyncio.sleep(0.2)
    assert not running.done()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.world.look().member(2).desync


async def test_heartbeats_say_what_is_waited_for(bench: Bench) -> None:
    bench.world.plan(RunnerPlan("list", held=True))
    running = asyncio.ensure_future(bench.run(bench.runner.run_runner, bench.job()))
    await assert_eventually(lambda: ("working",) in bench.beats)
    bench.world.let_go()
    await running
    task = await bench.desynced()
    await bench.run(bench.kubernetes.wait_out_of_service, task)
    assert any("mariadb-server-2 is still Ready" in str(beat) for beat in bench.beats)


# --- how a runner ends


@pytest.mark.parametrize(
    ("end", "error", "text", "deleted"),
    [
        ("killed", "RunnerFailed", "agent 137 OOMKilled", False),
        ("evicted", "RunnerFailed", "Evicted", False),
        ("vanishes", "RunnerFailed", "it was deleted while it worked", True),
        ("never starts", "RunnerNotStarted", "ImagePullBackOff", False),
    ],
)
async def test_pod_without_an_answer_is_an_outcome(
    bench: Bench, end: Any, error: str, text: str, deleted: bool
) -> None:
    bench.world.plan(RunnerPlan("list", end=end))
    outcome = await bench.run(bench.runner.run_runner, bench.job())
    assert outcome.error.type == error
    assert text in outcome.error.message
    assert outcome.deleted == deleted
