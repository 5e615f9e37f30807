"""Versions of MariaDB."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass

_VERSION = re.compile(r"\b(\d+)\.(\d+)\.(\d+)(?:-\d+)?-MariaDB\b", re.IGNORECASE)
"""An Enterprise Server has its own release behind the patch: `11.4.5-3-MariaDB-enterprise`."""
SUPER_IS_LESS_SINCE = (11, 0)
"""From this series on the privilege SUPER holds neither BINLOG MONITOR nor CONNECTION ADMIN."""


@dataclass(frozen=True, order=True)
class Version:
    """Of a MariaDB server or tool."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """The first version in a text such as `10.11.19-MariaDB-log`; None when there is none."""
        found = _VERSION.search(text)
        return cls(*map(int, found.groups())) if found else None

    @property
    def series(self) -> tuple[int, int]:
        return self.major, self.minor

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def is_beyond_limits(server_version: str, privileges: Set[str]) -> bool:
    """Whether max_user_connections is not for an account with these privileges, but the connection in reserve is."""
    version = Version.parse(server_version)
    by_super = version is None or version.series < SUPER_IS_LESS_SINCE
    return bool({"ALL PRIVILEGES", "CONNECTION ADMIN"} & privileges) or (by_super and "SUPER" in privileges)
