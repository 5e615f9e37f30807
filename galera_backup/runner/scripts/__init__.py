"""The scripts of the mariadb container, as package data: `sh -c` of a joined program, SQL as one statement.

Values that differ from pod to pod come from the environment or from files of WORK; `handshake` has their names,
or the module that works with the part.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


def program(*parts: str) -> str:
    """What the mariadb container runs: the parts, one after the other."""
    return "\n".join(_text(f"{name}.sh") for name in ("prelude", *parts))


def statement(name: str) -> str:
    """The SQL statement of a file, on one line, as `--init-file` of a server expects it, and without comments."""
    lines = (line for line in _text(name).splitlines() if not line.startswith("--"))
    return " ".join(" ".join(lines).split())


@cache
def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
