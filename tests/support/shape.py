"""Shapes of a cluster that others make: what differs from the local one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml  # type: ignore[import-untyped]

from dev.stack import settings

WHOLE = os.environ.get("SHAPES") == "all"
"""As `dev/shapes --all` does; else what fits into the tests of a commit."""
SCALE = 1 if WHOLE else 0.1
"""Of what takes minutes on a cluster that somebody runs: waits, probes, locks. `WHOLE` has them as long as there."""
_KEYS = "/etc/mysql/keys"


@dataclass(frozen=True)
class Shape:
    """A difference in the StatefulSet, or in the servers' settings."""

    name: str = "local"
    """A part of names in Kubernetes."""
    first_ordinal: int = 0
    replicas: int = settings.REPLICAS
    datadir: str = "/var/lib/mysql"
    """Below the mount, which stays."""
    sub_path: str = ""
    settings: Sequence[str] = ()
    """Lines of the servers' option file."""
    directories: Sequence[str] = ()
    """Below the data directory, that the servers' settings name: made once, on an empty volume."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the StatefulSet's spec."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Files of a Secret that the servers mount."""
    start_delay: float = 0
    """Seconds that a start takes before its server, as where the replicas elect a leader."""
    readiness: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the readiness probe."""

    @property
    def ordinals(self) -> range:
        """Of its replicas."""
        return range(self.first_ordinal, self.first_ordinal + self.replicas)

    def applied(self, text: str) -> str:
        """The manifest of the local cluster with this shape."""
        documents = [document for document in yaml.safe_load_all(text) if document]
        [statefulset] = [document for document in documents if document["kind"] == "StatefulSet"]
        self._apply(statefulset["spec"])
        if self.keys:
            metadata = {"name": "keys", "namespace": statefulset["metadata"]["namespace"]}
            documents.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": self.keys})
        return "\n---\n".join(json.dumps(document) for document in documents)

    def _apply(self, spec: dict[str, Any]) -> None:
        spec |= self.spec
        if self.first_ordinal:
            spec["ordinals"] = {"start": self.first_ordinal}
        (server,) = spec["template"]["spec"]["containers"]
        changed = {
            "FIRST_ORDINAL": str(self.first_ordinal),
            "DATADIR": self.datadir,
            "SETTINGS": "\n".join(self.settings),
            "DIRECTORIES": " ".join(self.directories),
            "START_DELAY": f"{self.start_delay:g}",
        }
        kept = [variable for variable in server["env"] if variable["name"] not in changed]
        server["env"] = kept + [{"name": name, "value": value} for name, value in changed.items()]
        server["readinessProbe"] |= self.readiness
        if self.keys:
            server["volumeMounts"].append({"name": "keys", "mountPath": _KEYS, "readOnly": True})
            spec["template"]["spec"]["volumes"].append({"name": "keys", "secret": {"secretName": "keys"}})
        for mount in server["volumeMounts"]:
            if mount["name"] == "mysql-data" and self.sub_path:
                mount["subPathExpr"] = self.sub_path


BELOW = Shape(
    "below",
    datadir="/var/lib/mysql/data",
    sub_path="galera/$(POD_NAME)",
    settings=[
        "log_bin = binlog/bin",
        "innodb_undo_directory = /var/lib/mysql/data/undo",  # relative, no state transfer succeeds
        "innodb_undo_tablespaces = 3",
        "innodb_log_group_home_dir = /var/lib/mysql/data/redo",
        "aria_log_dir_path = /var/lib/mysql/data/aria",
        "tmpdir = /var/lib/mysql/data/tmp",
        "general_log = ON",
        "general_log_file = logs/general.log",
    ],
    directories=["binlog", "undo", "redo", "aria", "tmp", "logs"],
)
"""Data directory below the mount of a sub path, and directories in it that the configuration names."""
FIRST_IS_1 = Shape("first-is-1", first_ordinal=1, spec={"podManagementPolicy": "Parallel"})
"""The first ordinal; and pods that go and come all at once."""
TWO = Shape(
    "two",
    replicas=2,
    settings=[
        "plugin_load_add = file_key_management",
        f"file_key_management_filename = {_KEYS}/keys.txt",
        "innodb_encrypt_tables = ON",
        "innodb_encrypt_log = ON",
    ],
    keys={"keys.txt": f"1;{'0123456789abcdef' * 4}\n"},
)
"""Backed up in service; and its data is encrypted, with keys in a Secret."""
SLOW = Shape(
    "slow",
    start_delay=120 * SCALE,
    readiness={"periodSeconds": int(30 * SCALE), "failureThreshold": 3},
    spec={"podManagementPolicy": "Parallel"},
)
"""A start script that waits for the others, and a probe that takes its time, as OpenStack-Helm's."""
