"""A database user with its password. No model has it: models travel through Temporal and stay in its history."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """A database user; its password is not in its repr."""

    user: str
    password: str = field(repr=False)
