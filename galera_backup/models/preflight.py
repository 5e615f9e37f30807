"""What the preflight found: each finding says what was seen, what it means for an operation, and the remedy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Literal

from galera_backup.models.common import Model

Undertaking = Literal["backup", "restore"]
"""What the cluster is looked at for; a rollback is a restore here."""


class Effect(StrEnum):
    """What a finding does to an operation."""

    REFUSES = "refuses"
    """The operation would do harm, or could not succeed: it ends before it has changed anything."""
    WARNS = "warns"
    """The operation goes on; its plan and its result say so."""
    TELLS = "tells"
    """Worth knowing; nothing is wrong."""
    NONE = "none"


class Severity(Model):
    """What a kind of finding means for each operation."""

    backup: Effect
    restore: Effect
    acceptable: bool = False
    """A person can know better: a request that names the kind in `accept` goes on, warned."""

    def of(self, undertaking: Undertaking) -> Effect:
        """Its effect on one of them."""
        return self.backup if undertaking == "backup" else self.restore


class Finding(Model):
    """One thing that is not as an operation needs it, or that a person should know before it."""

    kind: str
    """A name that stays, such as `claims-deleted-by-scaling`: key of `rules.preflight.severities.SEVERITIES`."""
    severity: Severity
    about: str
    """The object, such as `claim 'mysql-data-mariadb-server-0'`."""
    saw: str
    """What was expected and what was seen, in one sentence without a full stop."""
    remedy: str
    """A command where there is one, else what to do; empty where nothing has to be done."""

    def effect(self, undertaking: Undertaking, accepted: Collection[str] = ()) -> Effect:
        """What it does to an operation whose request accepts these kinds."""
        effect = self.severity.of(undertaking)
        can_go_on = effect == Effect.REFUSES and self.severity.acceptable and self.kind in accepted
        return Effect.WARNS if can_go_on else effect

    def sentence(self) -> str:
        """All of it, for a message."""
        remedy = f". {self.remedy}" if self.remedy else ""
        accept = f". Where it does no harm, go on with 'accept': '{self.kind}'" if self.severity.acceptable else ""
        return f"{self.about}: {self.saw}{remedy}{accept}"


def refusing(found: Sequence[Finding], undertaking: Undertaking, accepted: Collection[str] = ()) -> tuple[Finding, ...]:
    """The findings that this operation must not go on with."""
    return tuple(each for each in found if each.effect(undertaking, accepted) == Effect.REFUSES)


def warnings(found: Sequence[Finding], undertaking: Undertaking, accepted: Collection[str]) -> tuple[str, ...]:
    """What this operation goes on with, for its plan and its result; accepted refusals are among it."""
    told = [each for each in found if each.effect(undertaking, accepted) == Effect.WARNS]
    return tuple(f"{each.kind}: {each.about}: {each.saw}" for each in told)


def in_spite_of(found: Sequence[Finding], undertaking: Undertaking, accepted: Collection[str]) -> tuple[str, ...]:
    """What would refuse this operation, if its request did not accept it: for the record, one sentence each."""
    refused = refusing(found, undertaking)
    return tuple(f"{each.about}: {each.saw}" for each in refused if each.effect(undertaking, accepted) == Effect.WARNS)
