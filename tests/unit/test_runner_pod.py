"""The runner pod: what each job mounts and runs, and that it may do no more."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from kubernetes.client import ApiClient

from galera_backup import names
from galera_backup.errors import InvalidInput
from galera_backup.kube.facts import StatefulSetFacts
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import RunnerTask
from galera_backup.models.common import LeaseRef, SecretRef
from galera_backup.models.jobs import (
    BackupJob,
    BootstrapJob,
    CheckJob,
    DiscardJob,
    EmptyJob,
    InspectJob,
    ListJob,
    PruneJob,
    RestoreJob,
    RunnerJob,
    StageJob,
    SwapJob,
    TidyJob,
    UnpackJob,
)
from galera_backup.models.layout import Layout
from galera_backup.models.runner import DataJob
from galera_backup.models.site import Site
from galera_backup.runner.handshake import VOLUME
from galera_backup.runner.scripts import program
from tests.fakes.world import World, fresh_cluster

WORLD = World(fresh_cluster())
CLUSTER = WORLD.cluster
BACKUP = "20261122T010000Z-full"
JOBS: dict[str, RunnerJob] = {
    "backup": BackupJob(
        cluster=CLUSTER,
        backup_id=BACKUP,
        replica="mariadb-server-2",
        node="node-1",
        claim="c",
        claim_uid="u",
        lease_run="r",
        required_space_ratio=1.2,
    ),
    "check": CheckJob(cluster=CLUSTER, backup_id=BACKUP),
    "look": CheckJob(cluster=CLUSTER),
    "before": CheckJob(cluster=CLUSTER, before_backup=True),
    "alone": CheckJob(cluster=CLUSTER, without_backups=True),
    "restore": RestoreJob(
        cluster=CLUSTER, backup_id=BACKUP, restore_id="x", ordinal=0, last=False, safe_to_bootstrap=True
    ),
    "unpack": UnpackJob(cluster=CLUSTER, backup_id=BACKUP, restore_id="x"),
    "discard": DiscardJob(cluster=CLUSTER),
    "stage": StageJob(cluster=CLUSTER, backup_id=BACKUP, restore_id="x", safe_to_bootstrap=True),
    "inspect": InspectJob(cluster=CLUSTER, restore_id="x"),
    "swap": SwapJob(cluster=CLUSTER, restore_id="x", direction="in"),
    "empty": EmptyJob(cluster=CLUSTER, restore_id="x"),
    "bootstrap": BootstrapJob(cluster=CLUSTER),
    "tidy": TidyJob(cluster=CLUSTER),
    "prune": PruneJob(cluster=CLUSTER, keep=3, own=BACKUP),
    "list": ListJob(cluster=CLUSTER),
}
WITH_DATA = {"backup", "check", "look", "before", "alone", "restore", "inspect", "stage", "swap", "empty", "tidy"}


def facts(**changes: Any) -> StatefulSetFacts:
    return StatefulSetFacts(**{**vars(WORLD.statefulset_facts("mariadb")), **changes})


SITE = {
    "cluster": CLUSTER,
    "credentials": SecretRef(secret="backup-account", user_key="u", password_key="p"),
    "backup_claim": "backups",
}


def task(job: str, **changes: Any) -> RunnerTask[RunnerJob]:
    site = {name: changes.pop(name) for name in tuple(changes) if name in Site.model_fields}
    values = {
        "site": Site.model_validate(SITE | site),
        "lease": LeaseRef(workflow_id="w", run_id="lease-run"),
        "fence": "none",
        "pod": "mariadb-phy-backup-runner-20261122t010000z",
        "job": JOBS[job],
        "data_claim": "mysql-data-mariadb-server-2" if job in WITH_DATA else None,
        "timeout": timedelta(hours=6),
    }
    return RunnerTask[RunnerJob].model_validate({**values, **changes})


def build(job: str, replica: bool = False, **changes: Any) -> Any:
    """The pod as it is sent to the API server."""
    member = WORLD.member(2).facts() if replica else None
    pod = runner_pod(task(job, **changes), facts(), member, "agent:1")
    return ApiClient().sanitize_for_serialization(pod)


def by_name(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["name"]: each for each in objects}


@pytest.mark.parametrize("job", JOBS)
def test_may_do_no_more_than_it_must(job: str) -> None:
    spec = build(job)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 999
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 6 * 3600
    for unwanted in ("hostNetwork", "hostPID", "hostIPC"):
        assert not spec.get(unwanted)
    assert {"hostPath"}.isdisjoint(key for volume in spec["volumes"] for key in volume)
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security.get("privileged")
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


@pytest.mark.parametrize(
    ("job", "data", "backup"),
    [
        ("backup", "read-only", "writable"),
        ("check", "read-only", "read-only"),
        ("look", "read-only", "read-only"),
        ("before", "read-only", "writable"),
        ("alone", "read-only", None),
        ("restore", "writable", "writable"),
        ("unpack", None, "writable"),
        ("discard", None, "writable"),
        ("stage", "writable", "read-only"),
        ("inspect", "read-only", None),
        ("swap", "writable", None),
        ("empty", "writable", None),
        ("tidy", "writable", None),
        ("prune", None, "writable"),
        ("list", None, "read-only"),
    ],
)
def test_mounts(job: str, data: str | None, backup: str) -> None:
    spec = build(job)["spec"]
    volumes = by_name(spec["volumes"])
    for name, expected, claim in (("data", data, "mysql-data-mariadb-server-2"), ("backup", backup, "backups")):
        if expected is None:
            assert name not in volumes
            continue
        source = volumes[name]["persistentVolumeClaim"]
        assert source["claimName"] == claim
        mounts = [by_name(container["volumeMounts"])[name] for container in spec["containers"]]
        assert {source.get("readOnly", False), *(mount.get("readOnly", False) for mount in mounts)} == {
            expected == "read-only"
        }


@pytest.mark.parametrize(
    ("job", "containers"),
    [
        ("backup", {"agent", "mariadb"}),
        ("check", {"agent", "mariadb"}),
        ("look", {"agent"}),
        ("before", {"agent", "mariadb"}),
        ("alone", {"agent"}),
        ("restore", {"agent", "mariadb"}),
        ("unpack", {"agent", "mariadb"}),
        ("discard", {"agent"}),
        ("stage", {"agent", "mariadb"}),
        ("inspect", {"agent"}),
        ("swap", {"agent"}),
        ("empty", {"agent"}),
        ("tidy", {"agent"}),
        ("prune", {"agent"}),
        ("list", {"agent"}),
    ],
)
def test_containers(job: str, containers: set[str]) -> None:
    found = by_name(build(job)["spec"]["containers"])
    assert found.keys() == containers
    assert found["agent"]["image"] == "agent:1"
    environment = {each["name"]: each.get("value") for each in found["agent"]["env"]}
    assert environment["GALERA_BACKUP_SITE"] == facts().uid == "statefulset-uid"
    assert environment["GALERA_BACKUP_CLAIM"] == (task(job).data_claim or "")
    assert JOBS[job] == type(JOBS[job]).model_validate_json(environment["GALERA_BACKUP_JOB"] or "")
    if "mariadb" in containers:
        assert found["mariadb"]["image"] == "mariadb:10.11.19"  # of the StatefulSet: its tools fit its server


@pytest.mark.parametrize("job", JOBS)
def test_the_share_is_small_but_in_the_outage(job: str) -> None:
    in_the_outage = job in ("restore", "swap", "empty", "bootstrap")
    for container in build(job)["spec"]["containers"]:
        assert container["resources"]["requests"]["cpu"] == ("100m" if in_the_outage else "10m")
        environment = {each["name"]: each["value"] for each in container["env"]}
        tools_at_full_weight = in_the_outage and container["name"] == "mariadb"
        assert environment.get("NICENESS") == ("0" if tools_at_full_weight else None)


@pytest.mark.parametrize("job", JOBS)
def test_secret_is_mounted_where_the_tool_logs_in_and_nowhere_else(job: str) -> None:
    logs_in = job in ("backup", "before")
    pod = build(job, replica=logs_in)
    volumes, containers = by_name(pod["spec"]["volumes"]), by_name(pod["spec"]["containers"])
    assert ("credentials" in volumes) == logs_in
    assert "credentials" not in by_name(containers["agent"]["volumeMounts"])
    if logs_in:
        assert volumes["credentials"]["secret"]["secretName"] == "backup-account"
        assert volumes["credentials"]["secret"]["items"] == [
            {"key": "u", "path": "username"},
            {"key": "p", "path": "password"},
        ]
        assert by_name(containers["mariadb"]["volumeMounts"])["credentials"]["readOnly"] is True
    for container in containers.values():
        assert "envFrom" not in container
        assert all("valueFrom" not in each for each in container["env"])
        assert "password=" not in " ".join(container.get("args") or [])


def test_secrets_whose_passwords_are_compared() -> None:
    accounts = [SecretRef(secret="backup-account"), SecretRef(secret="nova", user_key="u", password_key="p")]
    pod = build("stage", accounts=accounts)
    containers, volumes = by_name(pod["spec"]["containers"]), by_name(pod["spec"]["volumes"])
    assert "accounts" not in by_name(containers["agent"]["volumeMounts"])
    assert by_name(containers["mariadb"]["volumeMounts"])["accounts"]["readOnly"] is True
    assert [source["secret"] for source in volumes["accounts"]["projected"]["sources"]] == [
        {
            "name": "backup-account",
            "items": [{"key": "username", "path": "0/username"}, {"key": "password", "path": "0/password"}],
        },
        {"name": "nova", "items": [{"key": "u", "path": "1/username"}, {"key": "p", "path": "1/password"}]},
    ]
    for job in set(JOBS) - {"stage", "unpack"}:
        assert "accounts" not in by_name(build(job, accounts=accounts)["spec"]["volumes"])


def test_same_node_as_the_replica() -> None:
    pod = build("backup", replica=True)
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms == {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]
    }
    assert "affinity" not in build("restore")["spec"]


def environments(pod: Any) -> dict[str, dict[str, str]]:
    return {
        name: {each["name"]: each["value"] for each in container["env"]}
        for name, container in by_name(pod["spec"]["containers"]).items()
    }


@pytest.mark.parametrize("job", ["backup", "before", "stage"])
def test_where_the_server_is(job: str) -> None:
    """The agent is told too: it looks whether its pod may reach the server."""
    for environment in environments(build(job, replica=True)).values():
        found = environment.get("MARIADB_HOST"), environment.get("MARIADB_PORT")
        assert found == ((None, None) if job == "stage" else ("10.0.0.3", "3306"))


def test_a_server_that_offers_tls() -> None:
    assert environments(build("backup", tls=True))["mariadb"]["MARIADB_TLS"] == "1"
    assert "MARIADB_TLS" not in environments(build("backup"))["mariadb"]


@pytest.mark.parametrize(
    ("job", "image"),
    [
        ("backup", "mariadb:11.4.5"),
        ("before", "mariadb:11.4.5"),
        ("check", "mariadb:10.11.19"),
        ("stage", "mariadb:10.11.19"),
    ],
)
def test_tools_beside_a_server_are_of_its_image(job: str, image: str) -> None:
    """The template may have another one (OnDelete, a partition); a restore starts what the template has."""
    member = replace(WORLD.member(2).facts(), images={"mariadb": "mariadb:11.4.5", "proxy": "p:1"})
    pod = runner_pod(task(job), facts(), member, "agent:1")
    assert pod.spec.containers[1].image == image


@pytest.mark.parametrize("job", ["look", "inspect", "stage", "swap", "empty", "tidy"])
@pytest.mark.parametrize("sub_path", [None, "data"])
def test_what_lies_beside_the_data_is_in_the_same_mount(job: str, sub_path: str | None) -> None:
    """Renames do not cross mounts."""
    placed = JOBS[job].model_copy(update={"layout": Layout(sub_path=sub_path or "")})
    pod = runner_pod(task(job).model_copy(update={"job": placed}), facts(), None, "agent:1")
    for container in pod.spec.containers:
        [mount] = [each for each in container.volume_mounts if each.name == "data"]
        assert (mount.mount_path, mount.sub_path) == (VOLUME, None)
    environment = {each.name: each.value for each in pod.spec.containers[0].env}
    of_data = isinstance(JOBS[job], DataJob)  # the others work at the top of the volume
    assert environment["GALERA_BACKUP_DATA_DIRECTORY"] == (f"{VOLUME}/data" if sub_path and of_data else VOLUME)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("restore", [program("unpack"), program("unpack", "adopt")]),
        ("stage", [program("unpack", "passwords"), program("unpack", "adopt", "passwords")]),
    ],
)
def test_data_adopts_its_identity(job: str, expected: list[str]) -> None:
    own = JOBS[job].model_copy(update={"uuid": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"})
    tasks = task(job), task(job).model_copy(update={"job": own})
    scripts = [runner_pod(each, facts(), None, "agent:1").spec.containers[1].command[-1] for each in tasks]
    assert scripts == expected


def test_labels_find_it() -> None:
    labels = build("backup")["metadata"]["labels"]
    assert labels == {
        names.MANAGED_BY_LABEL: "galera-backup",
        names.CLUSTER_LABEL: "mariadb-server",
        names.LEASE_LABEL: "lease-run",
    }
    assert names.LEASE_LABEL not in build("list", lease=None)["metadata"]["labels"]
    assert WORLD.services["mariadb"].items() - labels.items()  # no Service of the cluster selects it
    for value in labels.values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def test_gate() -> None:
    """The scheduler waits for the second check of the lease; without a lease there is nothing to check."""
    for fence in ("lease", "desynced", "stopped"):
        assert build("restore", fence=fence)["spec"]["schedulingGates"] == [{"name": names.LEASE_GATE}]
    assert "schedulingGates" not in build("look")["spec"]


@pytest.mark.parametrize("user", [None, 0])
def test_never_root(user: int | None) -> None:
    with pytest.raises(InvalidInput, match="run_as_user"):
        runner_pod(task("list"), facts(user=user), None, "agent:1")
    asked = runner_pod(task("list", run_as_user=27), facts(user=user), None, "agent:1")
    assert asked.spec.security_context.run_as_user == 27
