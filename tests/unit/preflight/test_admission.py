"""Pods that would not be created, now or when the cluster is started again."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from kubernetes import client

from galera_backup.kube.admission import quota, server_pod, trial
from galera_backup.models.admission import Quota, Trial
from galera_backup.models.preflight import Effect
from galera_backup.models.trial import Trials, Way
from galera_backup.rules.preflight.admission import Gathering, Size, admitted, gatherings, quotas, trials

MEBI = Decimal(1 << 20)
SERVER = Trial(name="mariadb-server-0", whose="server", requests={"cpu": Decimal(1), "memory": 512 * MEBI})
RUNNER = Trial(
    name="stage",
    whose="runner",
    requests={"cpu": Decimal("0.02"), "memory": 128 * MEBI},
    limits={"memory": 256 * MEBI},
    has_deadline=True,
)
STAGING = Gathering("while it is staged", [RUNNER] * 3)
ALL_RUN = Size(replicas=3, running=3)
OUTAGE = Gathering("in the outage", [RUNNER] * 3, gone=[SERVER] * 3)


def container(name: str = "agent", **resources: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "resources": resources}


def parsed(kind: str, body: dict[str, Any]) -> Any:
    return client.ApiClient().deserialize(json.dumps(body), kind, "application/json")


def limit(hard: dict[str, int | str], used: dict[str, int | str] | None = None, **fields: Any) -> Quota:
    return Quota.model_validate({"name": "q", "hard": hard, "used": used or {}, **fields})


def test_pods_that_would_be_created() -> None:
    assert list(trials([SERVER, RUNNER])) == []


def test_pods_that_would_be_refused() -> None:
    why = {"problem": "minimum cpu usage per Pod is 2"}
    runner, server = trials([RUNNER.model_copy(update=why), SERVER.model_copy(update=why)])
    assert (runner.kind, runner.about) == ("pod-refused", "runner pod for 'stage'")
    assert (server.kind, server.about) == ("server-pod-refused", "pod 'mariadb-server-0'")
    assert (server.severity.backup, server.severity.restore) == (Effect.WARNS, Effect.REFUSES)
    assert "minimum cpu usage per Pod is 2" in server.saw


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (limit({"pods": 10}, {"pods": 7}), []),
        (limit({"pods": 9}, {"pods": 7}), ["while it is staged"]),
        (limit({"count/pods": 5}, {"count/pods": 3}), ["while it is staged"]),
        (limit({"requests.cpu": "3.06"}, {"requests.cpu": 3}), []),
        (limit({"cpu": "3.05"}, {"cpu": 3}), ["while it is staged"]),
        (limit({"limits.memory": 0}), ["while it is staged", "in the outage"]),
        (limit({"requests.storage": 1, "services": 0}), []),
        (limit({"pods": 0}, scopes=("NotTerminating",)), []),
        (limit({"pods": 2}, scopes=("Terminating",)), ["while it is staged", "in the outage"]),
    ],
)
def test_quotas(seen: Quota, expected: list[str]) -> None:
    found = list(quotas([seen], [STAGING, OUTAGE]))
    assert [each.kind for each in found] == ["quota-exceeded"] * len(expected)
    assert all(when in each.saw for when, each in zip(expected, found, strict=True))


def test_numbers_of_a_quota() -> None:
    (finding,) = quotas([limit({"memory": 1610612736}, {"memory": 1500000000})], [STAGING])
    assert finding.saw == (
        "expected room for 402653184 more of memory while it is staged, it has 1610612736 and 1500000000 are used"
    )


@pytest.mark.parametrize("fields", [{"has_selector": True}, {"scopes": ("BestEffort",)}])
def test_a_quota_of_some_pods(fields: dict[str, Any]) -> None:
    (finding,) = quotas([limit({"pods": 0}, **fields)], [STAGING])
    assert finding.kind == "quota-not-judged"


def test_the_pod_of_a_template() -> None:
    template = {
        "metadata": {"labels": {"app": "db"}, "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "mariadb"}],
            "volumes": [{"name": "run", "emptyDir": {}}, {"name": "data", "emptyDir": {}}],
        },
    }
    body = {"metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": {}, "template": template}}
    statefulset = parsed("V1StatefulSet", body)
    pod = server_pod(statefulset, {"data": "data-s-0"})
    sent = client.ApiClient().sanitize_for_serialization(pod)
    assert sent["metadata"] == {
        "generateName": "galera-backup-trial-",
        "namespace": "n",
        "labels": {"app": "db"},
        "annotations": {"a": "b"},
    }
    assert sent["spec"]["volumes"] == [
        {"name": "run", "emptyDir": {}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-s-0"}},
    ]
    assert statefulset.spec.template.spec.volumes[1].empty_dir is not None


def test_what_a_pod_takes() -> None:
    spec = {
        "containers": [
            container(requests={"cpu": "100m", "memory": "64Mi"}),
            container(requests={"cpu": "1"}, limits={"memory": "1Gi"}),
            {"name": "bare"},
        ],
        "initContainers": [container(requests={"cpu": "500m", "memory": "1Gi"})],
        "activeDeadlineSeconds": 60,
    }
    seen = trial("stage", "runner", parsed("V1Pod", {"metadata": {}, "spec": spec}))
    assert seen.requests == {"cpu": Decimal("1.1"), "memory": 1024 * MEBI}
    assert (seen.limits, seen.has_deadline, seen.problem) == ({"memory": 1024 * MEBI}, True, "")


def test_a_quota_as_it_is_read() -> None:
    body = {
        "metadata": {"name": "q"},
        "spec": {"hard": {"cpu": "2", "memory": "1Gi"}, "scopes": ["Terminating"]},
        "status": {"used": {"cpu": "1500m"}},
    }
    seen = quota(parsed("V1ResourceQuota", body))
    assert (seen.hard, seen.used) == ({"cpu": Decimal(2), "memory": 1024 * MEBI}, {"cpu": Decimal("1.5")})
    assert (seen.scopes, seen.has_selector) == (("Terminating",), False)
    bare = {"metadata": {"name": "q"}, "spec": {"scopeSelector": {"matchExpressions": []}}}
    assert quota(parsed("V1ResourceQuota", bare)) == Quota(name="q", hard={}, has_selector=True)


CASES = [("0.3", "0.31", False), ("0", "0.2", False), ("0", "0.21", True), ("2", "2.02", True)]


@pytest.mark.parametrize(("server", "work", "larger"), CASES)
def test_a_pod_of_the_outage_that_may_find_no_room(server: str, work: str, larger: bool) -> None:
    def named(name: str, cpu: str) -> Trial:
        return Trial(name=name, whose="runner", requests={"cpu": Decimal(cpu), "memory": 64 * MEBI})

    runners = (named("check", "0.01"), named("stage", "0.01"), named("swap", work))
    seen = Trials(runners=runners, server=named("s", server))
    kinds = [each.kind for each in admitted(seen, "staged", ALL_RUN)]
    assert kinds == (["outage-pods-larger"] if larger else [])


def tried(*names: str, **fields: Any) -> Trials:
    """Runner pods for these jobs."""
    server = fields.pop("server", SERVER)
    runners = tuple(RUNNER.model_copy(update={"name": name}) for name in names)
    return Trials(runners=runners, server=server, hold=RUNNER.model_copy(update={"name": "hold"}), **fields)


STAGED = tried("check", "stage", "swap")
ROLLING = tried("check", "unpack", "restore")


@pytest.mark.parametrize(
    ("seen", "way", "size", "in_turn", "expected"),
    [
        (STAGED, "staged", ALL_RUN, False, {"staged": (3, 0), "outage": (6, 3), "started": (3, 3)}),
        (STAGED, "staged", ALL_RUN, True, {"staged": (1, 0), "outage": (6, 3), "started": (3, 3)}),
        (STAGED, "staged", Size(3, running=0), False, {"staged": (3, 0), "outage": (6, 0), "started": (3, 0)}),
        (
            ROLLING,
            "rolling",
            Size(3, running=2),
            False,
            {"unpacked": (1, 0), "outage": (4, 2), "serves": (4, 2), "started": (3, 2)},
        ),
        (ROLLING, "in_place", ALL_RUN, False, {"outage": (4, 3), "started": (3, 3)}),
        (
            tried("check", "inspect", "swap"),
            "rollback",
            ALL_RUN,
            False,
            {"looked at": (3, 0), "outage": (6, 3), "started": (3, 3)},
        ),
    ],
)
def test_who_lives_at_the_same_time(
    seen: Trials, way: Way, size: Size, in_turn: bool, expected: dict[str, tuple[int, int]]
) -> None:
    found = gatherings(seen, way, size, in_turn=in_turn)
    assert [(len(each.pods), len(each.gone)) for each in found] == list(expected.values())
    assert all(each.when.endswith(when) for each, when in zip(found, expected, strict=True))


def test_servers_of_a_stopped_cluster_need_room() -> None:
    """While it is at 0 nothing of it is counted, and others may have taken its place."""
    seen = tried("check", "stage", "swap", quotas=(limit({"pods": 8}, {"pods": 6}),))
    sizes = {running: [each.saw for each in admitted(seen, "staged", Size(3, running))] for running in (0, 3)}
    assert any("3 more of pods when the cluster is started" in each for each in sizes[0])
    assert not any("when the cluster is started" in each for each in sizes[3])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"hard": {"pods": 5}}, ["quota-exceeded"]),
        ({"scopes": ("BestEffort",)}, ["server-pod-refused", "quota-not-judged"]),
    ],
)
def test_a_quota_that_is_full_now(fields: dict[str, Any], expected: list[str]) -> None:
    """The stop makes room for the servers that follow: then arithmetic says more than a dry run."""
    full = limit(fields.pop("hard", {"pods": 6}), {"pods": 3}, **fields)
    server = SERVER.model_copy(update={"problem": "exceeded quota: q", "over_quota": "q"})
    kinds = [
        each.kind
        for each in admitted(tried("check", "stage", "swap", server=server, quotas=(full,)), "staged", ALL_RUN)
    ]
    assert list(dict.fromkeys(kinds)) == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (("100Mi", "1Gi"), ["memory-limited"]),
        (("255Mi", None), ["memory-limited"]),
        (("256Mi", "256Mi"), []),
        ((None, None), []),
    ],
)
def test_tools_that_would_be_killed(limits: tuple[str | None, ...], expected: list[str]) -> None:
    """A LimitRange gives its maximum to containers that state none."""
    containers = [
        {"name": name, "image": "x", "resources": {"limits": {"memory": each}} if each else {}}
        for name, each in zip(("mariadb", "agent"), limits, strict=True)
    ]
    pod = parsed("V1Pod", {"metadata": {}, "spec": {"containers": containers}})
    seen = tried("check", "swap")
    seen = seen.model_copy(update={"runners": (*seen.runners, trial("stage", "runner", pod))})
    assert [each.kind for each in admitted(seen, "staged", ALL_RUN)] == expected


def test_pods_that_nobody_can_build() -> None:
    """One finding, although every pod has the problem."""
    update = {"problem": "run_as_user: it names none", "is_known": False}
    (finding,) = trials([RUNNER.model_copy(update=update)] * 3)
    assert (finding.kind, finding.about) == ("pod-unknown", "runner pods")
    assert "run_as_user: it names none" in finding.saw


def test_pods_that_get_clients() -> None:
    (finding,) = trials([RUNNER.model_copy(update={"selected_by": ("mariadb", "db")})] * 3)
    assert finding.kind == "pod-selected"
    assert "'mariadb', 'db' would" in finding.saw


def test_images_that_are_pulled_again() -> None:
    containers = [
        {"name": "mariadb", "image": "mariadb:10.11", "imagePullPolicy": "IfNotPresent"},
        {"name": "exporter", "image": "exporter:latest", "imagePullPolicy": "Always"},
    ]
    starting = [{"name": "init", "image": "init:1", "imagePullPolicy": "Always"}]
    spec = {"containers": containers, "initContainers": starting}
    server = trial("s", "server", parsed("V1Pod", {"metadata": {}, "spec": spec}))
    assert server.pulled == ("exporter:latest", "init:1")
    (finding,) = admitted(tried("check", "stage", "swap", server=server), "staged", ALL_RUN)
    assert (finding.kind, finding.severity.backup, finding.severity.restore) == (
        "images-pulled",
        Effect.NONE,
        Effect.WARNS,
    )
    assert "exporter:latest, init:1" in finding.saw


def test_containers_of_others() -> None:
    """A proxy that is put into every pod: one beside the containers, one that starts before them and goes on."""
    proxy = container(requests={"memory": "10Mi"}, limits={"memory": "20Mi"}, name="proxy")
    native = {**proxy, "restartPolicy": "Always"}
    agent = container(requests={"memory": "100Mi"}, limits={"memory": "300Mi"})
    spec = {"containers": [agent, proxy], "initContainers": [native]}
    seen = trial("stage", "runner", parsed("V1Pod", {"metadata": {}, "spec": spec}))
    assert (seen.requests, seen.memory) == ({"memory": 120 * MEBI}, 300 * MEBI)


def test_a_policy_against_scaling() -> None:
    seen = tried("check", "stage", "swap", scaling="403 Forbidden: at least 2")
    (finding,) = admitted(seen, "staged", ALL_RUN)
    assert finding.kind == "scaling-refused"
    assert "at least 2" in finding.saw
