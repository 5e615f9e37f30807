"""A healthy cluster, from which the tests of the preflight make all others."""

from __future__ import annotations

from typing import Any

from galera_backup.models.server import ServerSeen, ServerSettings, Setting
from galera_backup.models.shape import ClaimShape, ClusterShape, Mount, Owner, PodShape, StatefulSetShape
from tests.unit.members import CLUSTER

IMAGE, REVISION = "mariadb:10.11", "mariadb-server-1"
UID = "statefulset-uid"
OWNER = Owner(api_version="apps/v1", kind="StatefulSet", name="mariadb-server", uid=UID, controller=True)
DATA = "/var/lib/mysql"


def statefulset(**fields: Any) -> StatefulSetShape:
    """Three replicas, all of one revision."""
    values = {
        "cluster": CLUSTER,
        "uid": UID,
        "replicas": 3,
        "current_revision": REVISION,
        "update_revision": REVISION,
        "image": IMAGE,
        "container": "mariadb",
        "data_template": "mysql-data",
        "data_path": DATA,
    }
    return StatefulSetShape.model_validate(values | fields)


def pod(ordinal: int, /, **fields: Any) -> PodShape:
    """A member whose data directory is the mount of its claim."""
    values = {
        "name": f"mariadb-server-{ordinal}",
        "uid": f"pod-{ordinal}",
        "phase": "Running",
        "deleting": False,
        "ready": True,
        "node": "node",
        "ip": f"10.0.0.{ordinal}",
        "owners": (OWNER,),
        "revision": REVISION,
        "image": IMAGE,
        "unready_after": 6,
        "mounts": (mount(ordinal), Mount(path="/tmp", volume="tmp", kind="emptyDir")),
    }
    return PodShape.model_validate(values | fields)


def mount(ordinal: int, path: str = DATA, **fields: Any) -> Mount:
    """That of a data claim."""
    values = {"path": path, "volume": "mysql-data", "kind": "claim", "source": f"mysql-data-mariadb-server-{ordinal}"}
    return Mount.model_validate(values | fields)


def claim(ordinal: int, /, **fields: Any) -> ClaimShape:
    """A data claim."""
    values = {
        "name": f"mysql-data-mariadb-server-{ordinal}",
        "ordinal": ordinal,
        "uid": f"claim-{ordinal}",
        "phase": "Bound",
        "deleting": False,
        "access_modes": ("ReadWriteOnce",),
        "volume": f"pv-{ordinal}",
    }
    return ClaimShape.model_validate(values | fields)


def cluster(**fields: Any) -> ClusterShape:
    """Three members, and nothing wrong with them."""
    shape = fields.pop("statefulset", None) or statefulset()
    values = {
        "statefulset": shape,
        "members": tuple(pod(ordinal) for ordinal in shape.ordinals),
        "claims": tuple(claim(ordinal) for ordinal in shape.ordinals),
    }
    return ClusterShape.model_validate(values | fields)


def settings(**fields: Any) -> ServerSettings:
    """Of a server with MariaDB's defaults; `files` are changes of those."""
    files = {
        "aria_log_dir_path": f"{DATA}/",
        "base_dir": f"{DATA}/",
        "general_log_file": "mariadb-server-0.log",
        "innodb_data_file_path": "ibdata1:12M:autoextend",
        "innodb_log_group_home_dir": "./",
        "innodb_undo_directory": "./",
        "tmpdir": "/tmp",
        "wsrep_data_home_dir": f"{DATA}/",
    }
    files |= fields.pop("files", {})
    values = {
        "version": "10.11.19-MariaDB-log",
        "datadir": f"{DATA}/",
        "files": tuple(Setting(name=name, value=value) for name, value in files.items()),
        "group_size": 3,
        "incoming": ("10.0.0.0", "10.0.0.1", "10.0.0.2"),
        "privileges": frozenset({"RELOAD", "PROCESS", "SUPER"}),
    }
    return ServerSettings.model_validate(values | fields)


def server(ordinal: int, **fields: Any) -> ServerSeen:
    """One member that has answered; `fields` are of its settings."""
    return ServerSeen(pod=f"mariadb-server-{ordinal}", ip=f"10.0.0.{ordinal}", settings=settings(**fields))


def servers(**fields: Any) -> list[ServerSeen]:
    """All of them, alike."""
    return [server(ordinal, **fields) for ordinal in range(3)]
