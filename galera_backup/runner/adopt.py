"""Give prepared data an identity of its own: a new wsrep cluster state UUID, in grastate.dat and in InnoDB.

A new UUID in grastate.dat alone does not do: the members that join go by the position in InnoDB. So a server of the
same image starts on the data as the only member of a group on its loopback, which moves that position, and stops. Each
claim comes so to the same position, and the members join by IST (docs/adr/0011-identity-of-a-clone.md).
"""

from __future__ import annotations

from pathlib import Path

from galera_backup.failure import AgentError
from galera_backup.models.manifest import GaleraPosition
from galera_backup.runner.container import MariadbContainer
from galera_backup.runner.datadir import write_grastate
from galera_backup.runner.reporting import log
from galera_backup.runner.tool import recovered_position
from galera_backup.storage.durable import remove

ADOPT = "adopt"
"""Made by the agent when the prepared data has a grastate.dat with the new identity: a server may adopt it."""
ADOPT_LOG = "adopt.log"
RECOVER_LOG = "recover.log"
"""Of the server that tells the position which InnoDB has then."""
ADOPT_STATUS = "adopt.status"

_OF_THE_GROUP = ("galera.cache", "gvwstate.dat")
"""What the server leaves of the group in which it was alone."""


def adopt(uuid: str, data: Path, prepared: GaleraPosition, container: MariadbContainer) -> GaleraPosition:
    """Give the data this identity; returns its position, which InnoDB has. Error: `RestoreFailed`, `RunnerFailed`."""
    wanted = GaleraPosition(uuid=uuid, seqno=prepared.seqno)
    write_grastate(data, wanted, safe_to_bootstrap=True)
    container.tell(ADOPT)
    status = container.status(ADOPT_STATUS)
    if status:
        raise _failed(uuid, data, f"its exit status is {status}", container)
    position = recovered_position(container.log(RECOVER_LOG))
    if position is None or position.uuid != uuid or position.seqno < prepared.seqno:
        raise _failed(uuid, data, f"InnoDB has the position {position}, expected one after {wanted}", container)
    for name in _OF_THE_GROUP:
        remove(data / name)
    log.info("position %s instead of %s", position, prepared)
    return position


def _failed(uuid: str, data: Path, fault: str, container: MariadbContainer) -> AgentError:
    ends = (f"{name}: {container.log_tail(name)}" for name in (ADOPT_LOG, RECOVER_LOG))
    return AgentError(
        "RestoreFailed",
        f"giving the data in {str(data)!r} the wsrep identity {uuid} with a mariadbd of the StatefulSet's image: "
        f"{fault}. The data directory was not touched. Ends of the logs: {' '.join(ends)}",
    )
