"""The runner pod: what each job mounts, runs and may do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from kubernetes.client import (
    V1Container,
    V1EmptyDirVolumeSource,
    V1EnvVar,
    V1KeyToPath,
    V1ObjectMeta,
    V1PersistentVolumeClaimVolumeSource,
    V1Pod,
    V1PodSchedulingGate,
    V1PodSpec,
    V1ProjectedVolumeSource,
    V1ResourceRequirements,
    V1SecretProjection,
    V1SecretVolumeSource,
    V1Volume,
    V1VolumeMount,
    V1VolumeProjection,
)

from galera_backup import names, timing
from galera_backup.errors import InvalidInput
from galera_backup.kube.facts import PodFacts, StatefulSetFacts
from galera_backup.kube.taken_over import Taken, locked_down
from galera_backup.models.activities import RunnerTask
from galera_backup.models.common import SecretRef
from galera_backup.models.layout import Layout
from galera_backup.models.runner import AnyJob, DataJob, Needs
from galera_backup.models.site import BACKUP_ROOT, RunnerSettings
from galera_backup.runner import handshake, scripts


def runner_pod(
    task: RunnerTask[AnyJob], statefulset: StatefulSetFacts, replica: PodFacts | None, agent_image: str
) -> V1Pod:
    """The pod for one job, as the job's `needs` say.

    `replica`: the member whose node the pod must share. Error: `InvalidInput` when neither request nor
    StatefulSet names a user.
    """
    user = task.site.run_as_user or statefulset.user
    if not user:
        raise InvalidInput(
            f"run_as_user: StatefulSet {str(task.site.cluster)!r} names no runAsUser, or root; expected the uid that "
            "owns its data directory, so that the runner can work without being root. Set 'run_as_user' in the request"
        )
    group = statefulset.group or statefulset.fs_group or user
    needs, taken = task.job.needs, Taken(statefulset, task.server_volumes)
    fs_group = _fs_group(needs, statefulset, group)
    volumes = [V1Volume(name="work", empty_dir=V1EmptyDirVolumeSource(medium="Memory", size_limit="256Mi"))]
    work = V1VolumeMount(name="work", mount_path=handshake.WORK)
    agent_mounts, mariadb_mounts = [work], [work]
    if needs.backups != "none":
        reads_only = needs.backups == "read"
        volumes.append(_claim_volume("backup", task.site.backup_claim, reads_only))
        backup = V1VolumeMount(name="backup", mount_path=BACKUP_ROOT, read_only=reads_only)
        agent_mounts.append(backup)
        mariadb_mounts.append(backup)
    environment = _address(task, replica)
    layout = task.job.layout if isinstance(task.job, DataJob) else Layout()
    data_path = str(PurePosixPath(statefulset.data_path, layout.below))
    if needs.data != "none" and task.data_claim is not None:
        reads_only = needs.data == "read"
        volumes.append(_claim_volume("data", task.data_claim, reads_only))
        if needs.whole_volume:
            volume = V1VolumeMount(name="data", mount_path=handshake.VOLUME, read_only=reads_only)
            agent_mounts.append(volume)
            mariadb_mounts.append(volume)
            where = str(PurePosixPath(handshake.VOLUME) / layout.data_directory)
            environment.append(V1EnvVar(name=handshake.DATA_DIRECTORY_VARIABLE, value=where))
        else:
            agent_mounts.append(_data_mount(layout, handshake.DATA_DIRECTORY, reads_only))
            mariadb_mounts.append(_data_mount(layout, data_path, reads_only))
    if needs.secrets == "credentials":
        volumes.append(_credentials_volume(task, _secret_mode(fs_group)))
        mariadb_mounts.append(V1VolumeMount(name="credentials", mount_path=handshake.CREDENTIALS, read_only=True))
    if needs.secrets == "accounts":
        volumes.append(_accounts_volume(task, _secret_mode(fs_group)))
        mariadb_mounts.append(V1VolumeMount(name="accounts", mount_path=handshake.ACCOUNTS, read_only=True))
    containers = [_agent(task, statefulset, agent_image, agent_mounts, environment)]
    if needs.script:
        volumes += taken.volumes()
        mariadb_mounts += taken.mounts()
        containers.append(_mariadb(task, statefulset, replica, mariadb_mounts, data_path))
    return V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=V1ObjectMeta(
            name=task.pod,
            namespace=task.site.cluster.namespace,
            labels=_labels(task),
            annotations=_annotations(task, taken, containers) or None,
        ),
        spec=V1PodSpec(
            containers=containers,
            volumes=volumes,
            scheduling_gates=_gates(task),
            restart_policy="Never",
            active_deadline_seconds=int(task.timeout.total_seconds()),
            termination_grace_period_seconds=int(timing.RUNNER_GRACE.total_seconds()),
            automount_service_account_token=False,
            service_account_name=statefulset.service_account,
            enable_service_links=False,
            affinity=taken.affinity(replica, task.prefer_node, as_server=task.job.needs.as_server),
            node_selector=taken.node_selector(replica, as_server=task.job.needs.as_server),
            tolerations=taken.tolerations(),
            priority_class_name=task.site.runner.priority_class or taken.priority_class(),
            runtime_class_name=taken.runtime_class(),
            image_pull_secrets=taken.pull_secrets(task.site.runner.pull_secrets),
            security_context=taken.pod_security(user, group, fs_group),
        ),
    )


def _fs_group(needs: Needs, statefulset: StatefulSetFacts, group: int) -> int | None:
    """The kubelet gives every volume that the pod may write to this group: of the server's data, no other than its own.

    Without a group of its own the StatefulSet's data keeps its modes: no pod that writes to it has one. A fresh backup
    claim becomes writable by the pods that do not.
    """
    if statefulset.fs_group is not None:
        return statefulset.fs_group
    return group if needs.data != "write" else None


def _secret_mode(fs_group: int | None) -> int:
    """A Secret's files are root's, and have the pod's group; where it has none, all in the container may read them."""
    return 0o440 if fs_group is not None else 0o444


def _annotations(task: RunnerTask[AnyJob], taken: Taken, containers: Sequence[V1Container]) -> dict[str, str]:
    return {**taken.annotations([each.name for each in containers]), **task.site.runner.annotations}


def _gates(task: RunnerTask[AnyJob]) -> list[V1PodSchedulingGate] | None:
    """A pod cannot be created on a condition, so one that works under a lease waits until that is checked once more."""
    return None if task.fence == "none" else [V1PodSchedulingGate(name=names.LEASE_GATE)]


def _agent(
    task: RunnerTask[AnyJob],
    statefulset: StatefulSetFacts,
    image: str,
    mounts: list[V1VolumeMount],
    environment: list[V1EnvVar],
) -> V1Container:
    return V1Container(
        name=handshake.AGENT_CONTAINER,
        image=image,
        image_pull_policy="IfNotPresent",
        env=[
            V1EnvVar(name=handshake.JOB_VARIABLE, value=task.job.model_dump_json()),
            V1EnvVar(name=handshake.SITE_VARIABLE, value=statefulset.uid),
            V1EnvVar(name=handshake.CLAIM_VARIABLE, value=task.data_claim or ""),
            *environment,
        ],
        volume_mounts=mounts,
        resources=_share(task.job.needs, task.site.runner),
        security_context=locked_down(statefulset),
    )


def _mariadb(
    task: RunnerTask[AnyJob],
    statefulset: StatefulSetFacts,
    replica: PodFacts | None,
    mounts: list[V1VolumeMount],
    data_path: str,
) -> V1Container:
    needs = task.job.needs
    environment = [V1EnvVar(name="DATADIR", value=data_path), *_address(task, replica)]
    if task.tls:
        environment.append(V1EnvVar(name="MARIADB_TLS", value="1"))
    if needs.in_outage:
        environment.append(V1EnvVar(name="NICENESS", value="0"))
    # The template may have another image than the server that runs, whose node has its image.
    running = replica.images.get(statefulset.container) if replica is not None and needs.server else None
    return V1Container(
        name=handshake.MARIADB_CONTAINER,
        image=running or statefulset.image,
        image_pull_policy="IfNotPresent" if running else statefulset.image_pull_policy,
        command=["sh", "-c", scripts.program(*needs.script)],
        env=environment,
        volume_mounts=mounts,
        resources=_share(needs, task.site.runner),
        security_context=locked_down(statefulset),
    )


def _address(task: RunnerTask[AnyJob], replica: PodFacts | None) -> list[V1EnvVar]:
    if replica is None or not task.job.needs.server:
        return []
    return [
        V1EnvVar(name=handshake.HOST_VARIABLE, value=replica.ip),
        V1EnvVar(name=handshake.PORT_VARIABLE, value=str(task.site.port or replica.port)),
    ]


def _labels(task: RunnerTask[AnyJob]) -> dict[str, str]:
    ours = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.CLUSTER_LABEL: task.site.cluster.statefulset}
    labels = {**task.site.runner.labels, **ours}
    if task.run:
        labels[names.RUN_LABEL] = task.run
    if task.lease is not None:
        labels[names.LEASE_LABEL] = task.lease.run_id
    return labels


def _share(needs: Needs, settings: RunnerSettings) -> V1ResourceRequirements:
    """A small CPU weight: compression at full weight slows commits on the whole cluster to a fifth.

    In the outage nothing commits. Then the weight is larger, but still fits on the node of a stopped server.
    """
    cpu = "100m" if needs.in_outage else "10m"
    requests = {"cpu": cpu, "memory": "64Mi", **settings.requests}
    return V1ResourceRequirements(requests=requests, limits=dict(settings.limits) or None)


def _claim_volume(name: str, claim: str, read_only: bool) -> V1Volume:
    return V1Volume(
        name=name,
        persistent_volume_claim=V1PersistentVolumeClaimVolumeSource(claim_name=claim, read_only=read_only),
    )


def _data_mount(layout: Layout, path: str, read_only: bool) -> V1VolumeMount:
    directory = str(layout.data_directory)
    sub_path = None if directory == "." else directory
    return V1VolumeMount(name="data", mount_path=path, sub_path=sub_path, read_only=read_only)


def _credentials_volume(task: RunnerTask[AnyJob], mode: int) -> V1Volume:
    reference = task.site.credentials
    source = V1SecretVolumeSource(secret_name=reference.secret, default_mode=mode, items=_keys(reference))
    return V1Volume(name="credentials", secret=source)


def _accounts_volume(task: RunnerTask[AnyJob], mode: int) -> V1Volume:
    """A directory for each Secret."""
    sources = [
        V1VolumeProjection(
            secret=V1SecretProjection(name=reference.secret, items=_keys(reference, directory=f"{number}/"))
        )
        for number, reference in enumerate(task.accounts)
    ]
    return V1Volume(name="accounts", projected=V1ProjectedVolumeSource(default_mode=mode, sources=sources))


def _keys(reference: SecretRef, directory: str = "") -> list[V1KeyToPath]:
    return [
        V1KeyToPath(key=reference.user_key, path=f"{directory}username"),
        V1KeyToPath(key=reference.password_key, path=f"{directory}password"),
    ]
