"""What is broken, and mended again, while an operation stands at a point; each module registers its faults."""

from __future__ import annotations

from tests.chaos.fault import FAULTS

from tests.chaos.faults import worker, temporal, servers, runner, staged  # isort: skip  # the order is the plan's

__all__ = ["FAULTS", "runner", "servers", "staged", "temporal", "worker"]
