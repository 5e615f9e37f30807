"""A list of backups comes in pages: every backup once, and no page too long for a log or for Temporal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from galera_backup.models.common import ClusterRef
from galera_backup.models.jobs import PAGE_LIMIT, ListJob
from galera_backup.models.manifest import Manifest
from galera_backup.models.reports import ListReport
from galera_backup.runner import prune
from galera_backup.storage import layout
from tests.unit.runner.pod import CLUSTER, Pod
from tests.unit.test_storage import manifest

MANY = [
    f"20{20 + number // 336:02}{number // 28 % 12 + 1:02}{number % 28 + 1:02}T010000Z-full" for number in range(2500)
]


def _put(root: Path, ids: list[str], problems: tuple[str, ...] = ()) -> None:
    for backup_id in ids:
        directory = root / layout.backup(CLUSTER, backup_id)
        directory.mkdir(parents=True)
        (directory / layout.STREAM).write_bytes(b"s")
        text = manifest(backup_id, 1).model_copy(update={"problems": problems}).model_dump_json()
        (directory / layout.MANIFEST).write_text(text)


def _page(pod: Pod, capfd: pytest.CaptureFixture[str], job: ListJob) -> tuple[list[str], ListReport, int]:
    """Ids, report, and bytes printed."""
    capfd.readouterr()
    report = pod.run(job).report
    assert report is not None
    out = capfd.readouterr().out
    ids = [Manifest.model_validate(json.loads(line)["backup"]).backup_id for line in out.splitlines()]
    assert report.count == len(ids)
    return ids, report, len(out)


def test_many_backups(pod: Pod, capfd: pytest.CaptureFixture[str]) -> None:
    _put(pod.root, MANY)
    seen: list[str] = []
    before, pages = None, 0
    while True:
        ids, report, size = _page(pod, capfd, ListJob(cluster=CLUSTER, before=before))
        assert len(ids) <= PAGE_LIMIT
        assert size < 1_000_000
        seen, pages, before = ids + seen, pages + 1, report.next
        if before is None:
            break
    assert seen == sorted(MANY)
    assert pages == 7


@pytest.mark.parametrize(("limit", "expected", "more"), [(1, -1, True), (3, -3, True), (4, -4, False), (5, -4, False)])
def test_a_page_has_the_newest(
    pod: Pod, capfd: pytest.CaptureFixture[str], limit: int, expected: int, more: bool
) -> None:
    _put(pod.root, MANY[:4])
    ids, report, _ = _page(pod, capfd, ListJob(cluster=CLUSTER, limit=limit))
    assert ids == MANY[:4][expected:]
    assert report.next == (ids[0] if more else None)


def test_long_manifests_make_short_pages(pod: Pod, capfd: pytest.CaptureFixture[str]) -> None:
    _put(pod.root, MANY[:5], problems=("x" * (prune.PAGE_BYTES // 2),))
    ids, report, _ = _page(pod, capfd, ListJob(cluster=CLUSTER))
    assert ids == MANY[4:5], "two of them are more than a page may have"
    assert report.next == MANY[4]


def test_no_backups(pod: Pod, capfd: pytest.CaptureFixture[str]) -> None:
    other = ClusterRef(namespace="other", statefulset="db")
    assert _page(pod, capfd, ListJob(cluster=other)) == ([], ListReport(count=0), 0)
