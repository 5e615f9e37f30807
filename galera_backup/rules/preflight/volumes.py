"""Whether the data volumes hold the data where a restore would replace it: by looking at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from galera_backup.models.cluster import ClaimObservation
from galera_backup.models.jobs import CheckReport
from galera_backup.models.layout import Layout
from galera_backup.models.preflight import Finding
from galera_backup.rules.preflight.severities import found


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
    unlike = [claim for claim in claims if claim.layout.below != of_backup.below]
    if unlike and not said and not any(report.data_at for report in reports):
        yield found(
            "data-directory-unknown",
            f"claim {unlike[0].claim!r}",
            f"expected to know where its server looks for data: the volumes are empty, and the replica of the backup "
            f"had it in {of_backup.below or '.'!r} below its mount, not in {unlike[0].layout.below or '.'!r}",
            "Name the servers' data directory in 'data_directory', as their container sees it",
        )
