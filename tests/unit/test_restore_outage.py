"""What can be told of benchmarks/restore_outage.py without a cluster: its arithmetic, and the document's order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubernetes.client import ApiClient, V1ObjectMeta, V1Pod, V1PodCondition, V1PodList, V1PodSpec, V1PodStatus

from benchmarks import _document
from benchmarks._outage import Look, Outage, outage
from benchmarks._sized_data import Free, lacking
from benchmarks.restore_outage import beside, goals, table
from dev.stack import cluster

REPLICAS = 3
WRITES = [number / 10 for number in range(100)]
"""Ten seconds, ten writes in each."""


def looks(*seen: tuple[float, int, int, int]) -> list[Look]:
    return [Look(at, replicas, pods, ready, first_ready=ready > 0) for at, replicas, pods, ready in seen]


STOPPED_AND_STARTED = looks(
    (0, 3, 3, 3),
    (12, 0, 1, 0),
    (13, 0, 0, 0),
    (15, 0, 0, 0),
    (20, 3, 1, 0),
    (24, 3, 2, 1),
    (28, 3, 3, 3),
    (30, 3, 3, 3),
)


def test_the_parts_are_the_whole() -> None:
    seen = outage([*WRITES, 25, 25.1, 29], STOPPED_AND_STARTED, begun=5, ended=28.5, replicas=REPLICAS)
    figures = seen.figures()
    assert seen.seconds == pytest.approx(25 - 9.9)
    assert figures["stop: last write to all pods gone, s"] == pytest.approx(13 - 9.9)
    assert figures["restore or swap: to the scale up, s"] == 7
    assert figures["start: scale up to first write, s"] == 5
    assert figures["of that, after ordinal 0 was Ready, s"] == 1
    assert figures["first write to all Ready, s"] == 3
    assert figures["whole operation, s"] == 23.5
    parts = [figures[name] for name in figures if name.startswith(("stop", "restore", "start"))]
    assert sum(part or 0 for part in parts) == pytest.approx(seen.seconds)
    assert seen.other_interruptions == pytest.approx(29 - 25.1)


def test_a_pause_before_the_operation_is_not_its_outage() -> None:
    seen = outage([0, 30, 30.1, 30.2, 35], looks((31, 3, 3, 3)), begun=30.05, ended=34, replicas=REPLICAS)
    assert (seen.last_write, seen.first_write) == (30.2, 35)


def test_one_replica_after_the_other() -> None:
    """The pods are never all gone; Ready for good is what counts."""
    one_by_one = looks((0, 3, 3, 3), (11, 3, 2, 2), (14, 3, 3, 3), (16, 3, 2, 2), (19, 3, 3, 3), (20, 3, 3, 3))
    seen = outage([*WRITES, 12, 12.1, 19], one_by_one, begun=5, ended=19.5, replicas=REPLICAS)
    figures = seen.figures()
    assert figures["stop: last write to all pods gone, s"] is None
    assert figures["start: scale up to first write, s"] is None
    assert seen.all_ready == 19


def an_outage(seconds: float, start: float = 3) -> Outage:
    return Outage(
        begun=0,
        last_write=10,
        gone=11,
        scaled_back=10 + seconds - start,
        first_ready=None,
        first_write=10 + seconds,
        all_ready=10 + seconds + 8,
        ended=10 + seconds + 9,
        other_interruptions=0,
    )


def test_beside_the_document() -> None:
    document, staged = an_outage(150, start=43), an_outage(10, start=3)
    ratios = beside(staged, document, is_document=False)
    assert ratios == {"document's outage / this": 15, "document's with this start / this": 11}
    assert set(beside(document, document, is_document=True).values()) == {None}
    never_stopped = replace(staged, scaled_back=None)
    assert beside(never_stopped, document, is_document=False)["document's with this start / this"] is None


@pytest.mark.parametrize(
    ("small", "large", "document", "reached"),
    [
        (10, 12, 120, [True, True, True]),
        (9, 12, 120, [False, True, True]),
        (10, 12.5, 125, [True, False, True]),
        (10, 12, 119, [True, True, False]),
    ],
)
def test_goals(small: float, large: float, document: float, reached: list[bool]) -> None:
    measured = {
        (0.5, "staged"): an_outage(small),
        (8.0, "staged"): an_outage(large),
        (0.5, "document"): an_outage(1),
        (8.0, "document"): an_outage(document),
    }
    assert [is_reached for _, is_reached in goals(measured)] == reached


def test_goals_that_were_not_measured() -> None:
    assert [is_reached for _, is_reached in goals({(8.0, "staged"): an_outage(10)})] == [None, True, None]
    assert [is_reached for _, is_reached in goals({(8.0, "in_place"): an_outage(10)})] == [None, None, None]


def test_table() -> None:
    of_document: dict[str, float | None] = {"outage": 61.2, "ratio": None}
    of_staged: dict[str, float | None] = {"outage": 9.26, "ratio": 6.61}
    rows = {0.5: {"document": of_document, "staged": of_staged}}
    assert table(rows, ["document", "staged"]).splitlines() == [
        "| one restore each | document | staged |",
        "|---|---:|---:|",
        "| 0.5 GB: outage | 61 | 9.26 |",
        "| 0.5 GB: ratio |  | 6.61 |",
    ]


ROOMY = Free(disk=60, data=21, data_total=21.1, backups=21)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (ROOMY, []),
        (replace(ROOMY, disk=40), ["the disk has 40.0 GB free"]),
        (replace(ROOMY, data=4, data_total=4.2), ["--data-volume-size 20"]),
        (replace(ROOMY, backups=12), ["--backup-volume-size 14"]),
    ],
)
def test_what_does_not_fit(free: Free, expected: list[str]) -> None:
    problems = lacking(8, 0.25, stages=True, free=free)
    assert len(problems) == len(expected)
    assert all(part in problem for part, problem in zip(expected, problems, strict=True))


def test_what_is_there_needs_no_room_again() -> None:
    assert lacking(8, 8, stages=False, free=Free(disk=14, data=1.1, data_total=21, backups=14.3)) == []


class Kubernetes:
    """Pods that end at once, and a StatefulSet whose pods are there and Ready as soon as it is scaled up."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.replicas = REPLICAS
        self.interrupted_by: str | None = None

    def create_namespaced_pod(self, namespace: str, pod: dict[str, Any]) -> None:
        [container] = pod["spec"]["containers"]
        [data, _] = pod["spec"]["volumes"]
        claim = data["persistentVolumeClaim"]["claimName"]
        last = any(each.get("value") for each in container["env"] if each["name"] == "LAST")
        self.events.append(f"restore {claim}{' and tidy' if last else ''}")
        if self.interrupted_by == claim:
            self.interrupted_by = None
            raise KeyboardInterrupt

    def read_namespaced_pod(self, name: str, namespace: str) -> V1Pod:
        return V1Pod(metadata=V1ObjectMeta(name=name), status=V1PodStatus(phase="Succeeded"))

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> V1PodList:
        status = V1PodStatus(conditions=[V1PodCondition(type="Ready", status="True")])
        metadata = [V1ObjectMeta(name=f"mariadb-server-{ordinal}") for ordinal in range(self.replicas)]
        return V1PodList(
            items=[V1Pod(metadata=each, spec=V1PodSpec(containers=[]), status=status) for each in metadata]
        )

    def kubectl(self, *argv: str) -> str:
        if "scale" in argv:
            self.replicas = int(argv[-1].partition("=")[2])
            self.events.append(f"scale to {self.replicas}")
        return ""

    def get(self, *argv: str) -> dict[str, Any]:
        server = {"name": "mariadb", "image": "mariadb:10.11", "resources": {}}
        return {"spec": {"template": {"spec": {"containers": [server], "securityContext": {"runAsUser": 999}}}}}


IN_ORDER = [
    "scale to 0",
    "restore mysql-data-mariadb-server-0",
    "restore mysql-data-mariadb-server-1",
    "restore mysql-data-mariadb-server-2 and tidy",
    "scale to 3",
]


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    fake = Kubernetes()
    monkeypatch.setattr(_document, "CoreV1Api", lambda api_client: fake)
    monkeypatch.setattr(cluster, "kubectl", fake.kubectl)
    monkeypatch.setattr(cluster, "get", fake.get)
    return fake


def test_the_documents_order(kubernetes: Kubernetes) -> None:
    _document.Document(ApiClient()).restore()
    assert kubernetes.events == IN_ORDER


def test_a_restore_that_is_cut_off_is_done_once_more(kubernetes: Kubernetes) -> None:
    kubernetes.interrupted_by = "mysql-data-mariadb-server-1"
    with pytest.raises(KeyboardInterrupt):
        _document.Document(ApiClient()).restore()
    assert kubernetes.events == [*IN_ORDER[:3], *IN_ORDER]
