"""Shapes of a cluster that others make: what differs from the local one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml  # type: ignore[import-untyped]

from dev.stack import settings


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

    @property
    def ordinals(self) -> range:
        """Of its replicas."""
        return range(self.first_ordinal, self.first_ordinal + self.replicas)

    def applied(self, text: str) -> str:
        """The manifest of the local cluster with this shape."""
        documents = [document for document in yaml.safe_load_all(text) if document]
        for document in documents:
            if document["kind"] == "StatefulSet":
                self._apply(document["spec"])
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
        }
        kept = [variable for variable in server["env"] if variable["name"] not in changed]
        server["env"] = kept + [{"name": name, "value": value} for name, value in changed.items()]
        for mount in server["volumeMounts"]:
            if mount["name"] == "mysql-data" and self.sub_path:
                mount["subPathExpr"] = self.sub_path


BELOW = Shape(
    "below",
    datadir="/var/lib/mysql/data",
    sub_path="galera/$(POD_NAME)",
    settings=["log_bin = binlog/bin", "innodb_undo_directory = undo", "innodb_undo_tablespaces = 3"],
    directories=["binlog", "undo"],
)
"""Data directory below the mount of a sub path, and directories in it that the configuration names."""
FIRST_IS_1 = Shape("first-is-1", first_ordinal=1, spec={"podManagementPolicy": "Parallel"})
"""The first ordinal; and pods that go and come all at once."""
TWO = Shape("two", replicas=2)
