"""Facts and decisions as a person reads them: Markdown for the Temporal UI, and lines for messages."""

from __future__ import annotations

from collections.abc import Sequence

from galera_backup.models import preflight
from galera_backup.models.cluster import ClusterObservation
from galera_backup.models.janitor import Finding
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.restore import ClaimReport, ClaimState


def on_or_off(value: bool) -> str:
    """A variable of the server as it writes it."""
    return "ON" if value else "OFF"


def members_table(seen: ClusterObservation) -> str:
    """What was seen of each member, as a Markdown table for the UI and for failures."""
    rows = ["| pod | Kubernetes | wsrep | status | size | desync |", "|---|---|---|---|---|---|"]
    for member in seen.members:
        kubernetes = f"{member.phase or 'missing'}, {'Ready' if member.ready else 'Not Ready'}"
        if member.wsrep is None:
            rows.append(f"| {member.pod} | {kubernetes} | unreachable | | | |")
        else:
            wsrep = member.wsrep
            rows.append(
                f"| {member.pod} | {kubernetes} | {wsrep.local_state_comment} | {wsrep.cluster_status} "
                f"| {wsrep.cluster_size} | {on_or_off(wsrep.desync)} |"
            )
    return "\n".join(rows)


def describe_claims(claims: Sequence[ClaimReport]) -> str:
    """The state of each claim, in one line."""
    return ", ".join(f"{each.claim} {each.state}{_but(each)}" for each in claims)


def _but(claim: ClaimReport) -> str:
    if claim.previous_lost:
        return " (its previous data is lost)"
    if claim.left_incomplete and claim.state == ClaimState.UNTOUCHED:
        return f" (but no server may start on it: {claim.left_incomplete})"
    return ""


def findings_table(found: Sequence[Finding]) -> str:
    """What the janitor found, as a Markdown table for the UI."""
    rows = ["| object | verdict | |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| {each.name} | {each.verdict} | {each.text} |" for each in found)])


def preflight_table(found: Sequence[preflight.Finding]) -> str:
    """What the preflight found, as a Markdown table for the UI."""
    rows = ["| finding | backup | restore | seen | remedy |", "|---|---|---|---|---|"]
    for each in found:
        effects = f"{each.severity.backup} | {each.severity.restore}"
        rows.append(f"| {each.kind} | {effects} | {each.about}: {each.saw} | {each.remedy} |")
    return "\n".join(rows)


def describe_passwords(report: PasswordReport) -> str:
    """What became of the passwords, in one line."""
    if report.problem is not None:
        return f"not compared: {report.problem}"
    lines = [f"{report.same} as in the Secrets"]
    if report.reset:
        lines.append(f"set: {', '.join(report.reset)}")
    if report.not_compared:
        lines.append(f"not compared: {', '.join(report.not_compared)}")
    return "; ".join(lines)
