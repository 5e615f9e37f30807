"""Time limits that depend on each other."""

from __future__ import annotations

from datetime import timedelta

DESYNC_WINDOW = timedelta(seconds=5)
"""From the checks before `SET GLOBAL wsrep_desync` to the last moment at which the server obeys it.

Shorter than the time after which the attempt of a frozen worker is given up: its heartbeat timeout of 10 s, less the
4 s for which a heartbeat may be due.
"""
