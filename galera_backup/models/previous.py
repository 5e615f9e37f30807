"""The previous data of a restore on one data claim, and the proof that it is whole."""

from __future__ import annotations

from galera_backup.models.clone import NO_UUID, ClusterUuid
from galera_backup.models.common import Model


class DirectoryContent(Model):
    """What a data directory holds while no server runs on it, without what is not the server's."""

    entries: tuple[str, ...]
    """Names at its top."""
    files: int
    """At any depth."""
    bytes: int


class SavedState(Model):
    """The position in `grastate.dat`, as Galera saved it."""

    uuid: ClusterUuid
    seqno: int
    """-1: the server did not stop cleanly, or runs."""
    safe_to_bootstrap: bool
    """Galera writes this when the server was the last to leave its cluster."""

    @property
    def group(self) -> str | None:
        """The wsrep_cluster_state_uuid with which its server starts; None: it does not say."""
        return self.uuid if self.uuid != NO_UUID else None

    def __str__(self) -> str:
        return f"{self.uuid}:{self.seqno}"


class PreviousData(Model):
    """What is known of the previous data on one claim."""

    whole: bool
    """It is proved to be as it was before the first rename."""
    saved: SavedState | None = None
    """Its position; None: it is not whole, or has no `grastate.dat` that can be read."""
    problem: str = ""
    """Why it is not whole."""
