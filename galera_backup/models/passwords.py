"""The passwords in a staged backup, beside those in today's Secrets."""

from __future__ import annotations

from typing import Literal

from galera_backup.models.common import Model

PasswordMode = Literal["compare", "reset"]


class PasswordReport(Model):
    """Accounts are named as `'user'@'host'`; a list that is too long for a pod's answer ends with how many are left."""

    same: int = 0
    """Accounts that have the password of the Secret."""
    different: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    """They were different, and have the password of the Secret now."""
    missing: tuple[str, ...] = ()
    """Users that the backup does not have."""
    not_compared: tuple[str, ...] = ()
    """Accounts that have no password, or one of a plugin that is not known here."""
    problem: str | None = None
    """Why nothing could be compared."""
