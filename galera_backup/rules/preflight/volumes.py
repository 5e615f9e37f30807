"""What pods that looked at the data volumes have seen: what a backup would lack, where a restore would work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from galera_backup.models.cluster import ClaimObservation
from galera_backup.models.jobs import CheckReport
from galera_backup.models.layout import Layout
from galera_backup.models.preflight import Finding
from galera_backup.rules.preflight.severities import found


def volume(claim: ClaimObservation, report: CheckReport) -> Iterator[Finding]:
    """What a backup of the replica of this claim would lack."""
    about = f"claim {claim.claim!r}"
    if report.elsewhere:
        yield found(
            "tables-elsewhere",
            about,
            f"expected every table in the data directory, {', '.join(report.elsewhere)} are links to another place, "
            "which mariadb-backup does not follow",
            "Move them into the data directory",
        )
    if report.not_backed_up:
        yield found(
            "tables-not-backed-up",
            about,
            f"expected tables of engines that mariadb-backup reads, {', '.join(report.not_backed_up)} are not: their "
            "rows would not be in the backup",
            "Back them up in another way",
        )
    if report.unreadable:
        yield found(
            "directories-unreadable",
            about,
            f"expected the runner's user to read every directory, it may not list {', '.join(report.unreadable)}",
            "Mend their owner or mode, or set 'run_as_user'",
        )


def volumes(
    claims: Sequence[ClaimObservation], reports: Sequence[CheckReport], of_backup: Layout, *, said: bool
) -> Iterator[Finding]:
    """`reports`: of the pods that looked at the claims; `of_backup`: where the data was in the replica backed up.

    `said`: the request says where it is.
    """
    for claim, report in zip(claims, reports, strict=True):
        expected = str(claim.layout.data_directory)
        if report.data_at and expected not in report.data_at:
            yield found(
                "data-elsewhere",
                f"claim {claim.claim!r}",
                f"expected a server's data in the directory {expected!r} of its volume, it is in "
                f"{', '.join(repr(each) for each in report.data_at)}",
                "Name the servers' data directory in 'data_directory', as their container sees it",
            )
        yield from _immovable(claim, report)
    unlike = [claim for claim in claims if claim.layout.below != of_backup.below]
    if unlike and not said and not any(report.data_at for report in reports):
        yield found(
            "data-directory-unknown",
            f"claim {unlike[0].claim!r}",
            f"expected to know where its server looks for data: the volumes are empty, and the replica of the backup "
            f"had it in {of_backup.below or '.'!r} below its mount, not in {unlike[0].layout.below or '.'!r}",
            "Name the servers' data directory in 'data_directory', as their container sees it",
        )


def _immovable(claim: ClaimObservation, report: CheckReport) -> Iterator[Finding]:
    about = f"claim {claim.claim!r}"
    if report.staying:
        yield found("names-stay", about, f"a restore leaves where they are: {', '.join(report.staying)}")
    if report.in_the_way:
        yield found(
            "data-in-the-way",
            about,
            f"expected that the server's data can be replaced, this cannot: {'; '.join(report.in_the_way)}",
            "Take the flag away (chattr -i, -a), mend the owner, unmount what is mounted there, or narrow 'host_files'",
        )
