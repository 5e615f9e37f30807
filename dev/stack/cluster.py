"""The Galera cluster in Kubernetes: manifests, the backup account, and what is waited for."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from collections.abc import Iterable, Sequence
from string import Template
from typing import Any

from dev.stack import certificates, paths, programs, settings
from dev.stack.console import StackError, run, say
from dev.stack.volumes import Volume

_ROLLOUT_SECONDS = 300
_START_SECONDS = 90
"""For the pods of an older template to start again after dev/down: two that were deleted meanwhile took the quorum."""
_POLL = 0.5


def kubectl(*argv: str, stdin: str | None = None, timeout: float = 60) -> str:
    """Run kubectl as admin of the stack."""
    command = [programs.path("kubectl"), f"--kubeconfig={certificates.kubeconfig('admin')}", *argv]
    return run("kubernetes", command, stdin=stdin, timeout=timeout)


def get(*argv: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kubectl("get", *argv, "--output=json"))
    return document


def execute(
    pod: str,
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 120,
    namespace: str = settings.NAMESPACE,
) -> str:
    """Run a command in the database container of a pod."""
    where = ["--namespace", namespace, "exec", "--stdin", pod, "--container", settings.CONTAINER]
    return kubectl(*where, "--", *argv, stdin=stdin, timeout=timeout)


def sql(
    statements: str,
    pod: str = f"{settings.STATEFULSET}-0",
    timeout: float = 120,
    namespace: str = settings.NAMESPACE,
) -> str:
    """Run SQL as root of the database; rows come back as tab-separated lines."""
    argv = ["mariadb", "--batch", "--skip-column-names"]
    return execute(pod, argv, stdin=statements, timeout=timeout, namespace=namespace)


def apply_foundation(volumes: Iterable[Volume]) -> None:
    """Apply what CoreDNS and the claims need: roles, namespace, volumes."""
    documents = [manifest("cluster", namespace=settings.NAMESPACE)]
    documents += [
        manifest(
            "volume",
            volume=volume.claim,
            claim=volume.claim,
            gib=volume.gib,
            mount=volume.mount,
            namespace=settings.NAMESPACE,
            node=settings.NODE_NAME,
        )
        for volume in volumes
    ]
    _release_volumes()
    apply("\n---\n".join(documents))


def apply_galera(image: str) -> None:
    """Apply the database's Services, claims and StatefulSet, and make the Secret of the backup account once."""
    apply(
        manifest(
            "galera",
            namespace=settings.NAMESPACE,
            statefulset=settings.STATEFULSET,
            container=settings.CONTAINER,
            replicas=settings.REPLICAS,
            uid=settings.MYSQL_UID,
            image=image,
            backup_volume=settings.BACKUP_CLAIM,
            cpu="200m",
            memory="512Mi",
        )
    )
    if not _exists("secret", settings.BACKUP_SECRET):
        data = {"username": settings.BACKUP_USER, "password": secrets.token_urlsafe(24)}
        metadata = {"name": settings.BACKUP_SECRET, "namespace": settings.NAMESPACE}
        apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}))


def manifest(name: str, **values: object) -> str:
    """One of the files in `manifests/` with its values."""
    return Template((paths.DEV / "manifests" / f"{name}.yaml").read_text()).substitute(values)


def apply(documents: str) -> None:
    """Make the API server's objects what these documents say."""
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=dev-up", "--filename=-", stdin=documents)


def _exists(kind: str, name: str) -> bool:
    listed = kubectl("--namespace", settings.NAMESPACE, "get", kind, name, "--ignore-not-found", "--output=name")
    return bool(listed.strip())


def _release_volumes() -> None:
    """Let a volume whose claim was deleted be claimed again: its reservation names the claim that is gone."""
    for volume in get("persistentvolumes")["items"]:
        if volume.get("status", {}).get("phase") == "Released":
            patch = '[{"op": "remove", "path": "/spec/claimRef/uid"}]'
            kubectl("patch", "persistentvolume", volume["metadata"]["name"], "--type=json", f"--patch={patch}")


def wait_node_ready() -> None:
    """Wait until the node is registered and ready."""
    deadline = time.monotonic() + _ROLLOUT_SECONDS
    while not _node_ready():
        if time.monotonic() > deadline:
            raise StackError("kubelet", f"node {settings.NODE_NAME!r} is not Ready", paths.LOGS / "kubelet.log")
        time.sleep(_POLL)


def _node_ready() -> bool:
    conditions = (condition for node in get("nodes")["items"] for condition in node["status"].get("conditions", []))
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def pods() -> list[dict[str, Any]]:
    """The database pods, by ordinal."""
    selector = "--selector=application=mariadb,component=server"
    items: list[dict[str, Any]] = get("--namespace", settings.NAMESPACE, "pods", selector)["items"]
    return sorted(items, key=lambda pod: str(pod["metadata"]["name"]))


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def wait_galera_ready() -> None:
    """Wait until all replicas run the current template and are ready; a failure shows the last replica's log."""
    name = f"statefulset/{settings.STATEFULSET}"
    began = time.monotonic()
    shown = -1
    while True:
        found = get("--namespace", settings.NAMESPACE, name)
        status = found["status"]
        ready = int(status.get("readyReplicas", 0))
        current = (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("currentRevision") == status.get("updateRevision")
            and status.get("updatedReplicas") == settings.REPLICAS
        )
        if ready == settings.REPLICAS and current and _all_answer():
            return
        took = time.monotonic() - began
        if took > _START_SECONDS:
            _replace_broken(str(status.get("updateRevision", "")))
        if ready != shown:
            say("galera", f"{ready} of {settings.REPLICAS} replicas ready")
            shown = ready
        if took > _ROLLOUT_SECONDS:
            raise _not_ready()
        time.sleep(_POLL)


def _all_answer() -> bool:
    """Where the stack has been down, pods are Ready as they were before until the kubelet has looked."""
    try:
        for pod in pods():
            sql("SELECT 1", pod["metadata"]["name"])
    except StackError:
        return False
    return True


def _replace_broken(revision: str) -> None:
    """Delete pods of an older template that cannot run: a StatefulSet would wait for them for ever."""
    for pod in pods():
        metadata = pod["metadata"]
        outdated = metadata["labels"].get("controller-revision-hash") != revision
        if outdated and "deletionTimestamp" not in metadata and _cannot_run(pod):
            argv = ["delete", "pod", metadata["name"], "--wait=false", "--ignore-not-found"]
            kubectl("--namespace", settings.NAMESPACE, *argv)


def _cannot_run(pod: dict[str, Any]) -> bool:
    """Whether its server never answered since its container started.

    One that has answered and is not ready may be giving its data to a joining replica, and must be left alone.
    """
    return any(not status.get("started") for status in pod["status"].get("containerStatuses", []))


def _not_ready() -> StackError:
    pod = next((pod for pod in pods() if not is_ready(pod)), None)
    if pod is None:
        return StackError("galera", "replicas are missing: see kubectl -n openstack get events")
    name = pod["metadata"]["name"]
    log = paths.LOGS / f"{name}.log"
    argv = ["--namespace", settings.NAMESPACE, "logs", name, "--tail=200"]
    try:
        paths.write_atomic(log, kubectl(*argv))
    except StackError as error:
        paths.write_atomic(log, str(error))
    return StackError("galera", f"replica {name} is not ready after {_ROLLOUT_SECONDS} s", log)


def ensure_primary() -> None:
    """Give the label of the primary to replica 0 if no replica has it."""
    where = ("--namespace", settings.NAMESPACE)
    if not kubectl(*where, "get", "pods", f"--selector={settings.PRIMARY_LABEL}", "--output=name").strip():
        kubectl(*where, "label", "pod", f"{settings.STATEFULSET}-0", settings.PRIMARY_LABEL, "--overwrite")


def ensure_backup_account() -> None:
    """Make the database account of the backup, with the password of its Secret and exactly its grants."""
    data = get("--namespace", settings.NAMESPACE, "secret", settings.BACKUP_SECRET)["data"]
    values = {key: base64.b64decode(value).decode() for key, value in data.items()}
    if any(character in value for value in values.values() for character in "'\\"):
        raise StackError("galera", f"Secret {settings.BACKUP_SECRET!r} has a quote or backslash in it")
    template = (paths.DEV / "data" / "backup-account.sql").read_text()
    sql(Template(template).substitute(values))


def logs(pod: str, follow: bool, lines: int) -> int:
    """Print a database pod's log."""
    command = [programs.path("kubectl"), f"--kubeconfig={certificates.kubeconfig('admin')}"]
    command += ["--namespace", settings.NAMESPACE, "logs", pod, f"--tail={lines}"]
    return subprocess.run([*command, *(["--follow"] if follow else [])], check=False).returncode
