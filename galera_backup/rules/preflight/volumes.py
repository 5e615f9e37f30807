"""What pods that looked at the data volumes have seen: what a backup would lack, where a restore would work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from galera_backup.models.cluster import ClaimObservation
from galera_backup.models.layout import Layout
from galera_backup.models.preflight import Finding
from galera_backup.models.reports import CheckReport
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
    yield from _unreadable(about, report.unreadable)
    if not report.backup_writable:
        yield _no_backups()


def placed(
    claims: Sequence[ClaimObservation], reports: Sequence[CheckReport], of_backup: Layout, *, said: bool
) -> tuple[Layout, ...]:
    """Where the data is on each claim. Of those about which no server could be asked: where a server's data lies, and
    the backup's server had it, with the directories that this had in it. What lies elsewhere may be a copy.

    `said`: the request says where it is.
    """
    lies = {below for claim, report in zip(claims, reports, strict=True) for below in _lies(claim, report)}
    changes: dict[str, object] = {"directories": of_backup.directories, "ignored": of_backup.ignored}
    if not said and of_backup.below in lies:
        changes["below"] = of_backup.below
    elif not said and len(lies) == 1 and not of_backup.asked:  # a backup of which nobody knows where its data was
        changes["below"] = lies.pop()
    return tuple(each.layout if each.layout.asked else each.layout.model_copy(update=changes) for each in claims)


def _lies(claim: ClaimObservation, report: CheckReport) -> Iterator[str]:
    """From the mount of the claim to a server's data on its volume."""
    for path in report.data_at if not claim.layout.asked else ():
        if PurePosixPath(path).is_relative_to(claim.layout.sub_path):
            below = PurePosixPath(path).relative_to(claim.layout.sub_path)
            yield "" if below == PurePosixPath() else str(below)


def volumes(
    claims: Sequence[ClaimObservation],
    reports: Sequence[CheckReport],
    of_backup: Layout,
    *,
    said: bool,
    staged: bool,
) -> Iterator[Finding]:
    """`reports`: of the pods that looked at the claims; `of_backup`: where the data was in the replica backed up.

    `said`: the request says where it is. `staged`: a second copy is made beside it.
    """
    for claim, report in zip(claims, reports, strict=True):
        yield from _unreadable(f"claim {claim.claim!r}", sorted({*report.unreadable} - {*report.staying}))
        yield from _not_writable(claim, report, staged=staged)
        expected = str(claim.layout.data_directory)
        if report.data_at and expected not in report.data_at and not claim.layout.asked:
            yield found(
                "data-elsewhere",
                f"claim {claim.claim!r}",
                f"expected a server's data in the directory {expected!r} of its volume, it is in "
                f"{', '.join(repr(each) for each in report.data_at)}",
                "Name the servers' data directory in 'data_directory', as their container sees it",
            )
        yield from _immovable(claim, report)
        if report.going:
            yield found(
                "names-removed",
                f"claim {claim.claim!r}",
                f"a restore removes with the old data what no server makes again: {', '.join(report.going)}",
                "Copy them elsewhere, or name them in 'host_files', and they stay",
            )
        if report.replication:
            yield found(
                "replicates-from-elsewhere",
                f"claim {claim.claim!r}",
                f"its server is a replica of another cluster, as {', '.join(report.replication)} say: they are of the "
                "data that is replaced, so it does not replicate after a restore",
                "Set it up again then (CHANGE MASTER), from the position that the restored data has in gtid_slave_pos",
            )
        yield from _bound_otherwise(claim, of_backup)
    if not all(report.backup_writable for report in reports):
        yield _no_backups()
    unlike = [claim for claim in claims if claim.layout.below != of_backup.below and not claim.layout.asked]
    if unlike and not said and not any(report.data_at for report in reports):
        yield found(
            "data-directory-unknown",
            f"claim {unlike[0].claim!r}",
            f"expected to know where its server looks for data: the volumes are empty, and the replica of the backup "
            f"had it in {of_backup.below or '.'!r} below its mount, not in {unlike[0].layout.below or '.'!r}",
            "Name the servers' data directory in 'data_directory', as their container sees it",
        )


def _bound_otherwise(claim: ClaimObservation, of_backup: Layout) -> Iterator[Finding]:
    """Settings of the claim's server with which it would not start on the backup's data, or not find its tables."""
    needed = dict(each.split("=", 1) for each in of_backup.binding)
    has = dict(each.split("=", 1) for each in claim.layout.binding)
    unlike = [f"{name} {has[name]!r}, not {value!r}" for name, value in needed.items() if has.get(name, value) != value]
    if unlike:
        yield found(
            "settings-differ",
            f"server of claim {claim.claim!r}",
            f"expected the settings of the replica that was backed up, it has {', '.join(unlike)}: it would not start "
            "on that data, or not find its tables",
            "Give the servers the backup's values, and start the restore again",
        )


def _unreadable(about: str, names: Sequence[str]) -> Iterator[Finding]:
    if names:
        yield found(
            "directories-unreadable",
            about,
            f"expected the runner's user to read every directory, it may not list {', '.join(names)}",
            "Mend their owner or mode, or set 'run_as_user'. Where SELinux forbids it, give the StatefulSet's pods a "
            "fixed securityContext.seLinuxOptions.level, which runner pods take over. A restore leaves a directory of "
            "the host alone that 'host_files' names",
        )


def _not_writable(claim: ClaimObservation, report: CheckReport, *, staged: bool) -> Iterator[Finding]:
    """A volume that no server has used yet may get its owner when a pod that writes mounts it."""
    if not (report.data_at or claim.layout.asked):
        return
    lacking = [] if report.data_writable else [f"the data directory {str(claim.layout.data_directory)!r}"]
    if staged and not report.volume_writable:
        lacking.append("the root of the volume, where the second copy is made")
    if lacking:
        yield found(
            "volume-not-writable",
            f"claim {claim.claim!r}",
            f"expected the runner's user to write to {' and '.join(lacking)}, by owner and mode it may not",
            "Give it to that user or its group (chown, or an fsGroup of the StatefulSet), or set 'run_as_user'. The "
            "strategies 'rolling' and 'in_place' need the data directory alone",
        )


def _no_backups() -> Finding:
    return found(
        "backups-not-writable",
        "backup volume",
        "expected the runner's user to write to the cluster's directory on the backup volume, it may not",
        "Give the volume to that user or its group: chown it on its file server, export it without squashing, or use a "
        "volume that takes an fsGroup",
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
