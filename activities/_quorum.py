"""Enough other members in sync: before a replica is taken out of the cluster's flow, and while it is."""

from __future__ import annotations

from activities._heartbeat import in_thread, pause
from activities._observer import Observer
from galera_backup.errors import ClusterDegraded, ClusterUnhealthy, GaleraBackupError
from galera_backup.models.activities import Observe
from galera_backup.rules.health import LOOKS_UNTIL_DEGRADED, degraded, lacking_quorum, others_in_sync


class Quorum:
    """Looks at the members beside one replica."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def check(self, request: Observe, replica: str, needed: int, doing: str) -> None:
        """Error: `ClusterUnhealthy`, when fewer than `needed` other members are in sync."""
        if not needed:
            return
        lacking = lacking_quorum(await in_thread(self._observer.observe, request), replica, needed)
        if lacking is not None:
            raise ClusterUnhealthy(f"{doing}: {lacking}")

    async def watch(self, request: Observe, replica: str, needed: int) -> ClusterDegraded:
        """Look until the others are too few for some looks in a row; returns the error that says what was seen.

        What cannot be known, because the API server does not answer, is no reason to give up a backup.
        """
        too_few = 0
        while True:
            try:
                seen = await in_thread(self._observer.observe, request)
            except GaleraBackupError:
                await pause(2)
                continue
            too_few = too_few + 1 if others_in_sync(seen, replica) < needed else 0
            if too_few == LOOKS_UNTIL_DEGRADED:
                return ClusterDegraded(degraded(seen, replica, needed))
            await pause(2)
