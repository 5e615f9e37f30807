"""The activity that tries, without a trace, whether Kubernetes would let the pods of an operation run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from kubernetes.client import V1Pod
from temporalio import activity

from activities._heartbeat import in_thread
from galera_backup.errors import ClusterNotFound, InvalidInput, KubernetesRefused, QuotaExceeded
from galera_backup.kube.admission import TRIAL_PREFIX, trial
from galera_backup.kube.facts import StatefulSetFacts
from galera_backup.kube.gateway import KubeGateway
from galera_backup.kube.hold_pod import hold_pod
from galera_backup.kube.runner_pod import runner_pod
from galera_backup.models.activities import RunnerTask
from galera_backup.models.admission import Trial, Whose
from galera_backup.models.common import LeaseRef
from galera_backup.models.jobs import (
    BackupJob,
    CheckJob,
    InspectJob,
    PruneJob,
    RestoreJob,
    RunnerJob,
    StageJob,
    SwapJob,
    UnpackJob,
)
from galera_backup.models.shape import Unread
from galera_backup.models.trial import TrialRequest, Trials, Way
from galera_backup.text import first_sentence_of

_ID, _RESTORE, _UUID = "20260101T000000Z-full", "20260101t000000z", "00000000-0000-4000-8000-000000000000"
_NOBODY = LeaseRef(workflow_id="trial", run_id="trial")


class TrialActivities:
    """Every pod is created with `dryRun=All`: none is stored."""

    def __init__(self, kube: KubeGateway, agent_image: str) -> None:
        self._kube = kube
        self._agent_image = agent_image

    @activity.defn
    async def try_pods(self, request: TrialRequest) -> Trials:
        """Of each kind of pod that the operation will need, one; and one of the StatefulSet's own."""
        return await in_thread(self._try, request)

    def _try(self, request: TrialRequest) -> Trials:
        cluster = request.site.cluster
        statefulset = self._kube.statefulset(cluster, request.site.container, request.site.data_directory)
        runners = tuple(self._runner(request, statefulset, job) for job in _jobs(request))
        hold, scaling = None, ""
        if request.way != "backup":
            scaling = self._scaling(statefulset)
            pod = hold_pod(
                request.site, f"{TRIAL_PREFIX}hold", _NOBODY.run_id, self._agent_image, statefulset.service_account
            )
            hold = self._trial("hold", "runner", cluster.namespace, pod)
        server = self._trial(cluster.statefulset, "server", cluster.namespace, self._kube.server_pod(statefulset))
        try:
            quotas, unread = self._kube.quotas(cluster.namespace), ()
        except (KubernetesRefused, ClusterNotFound) as error:
            return Trials(
                runners=runners,
                server=server,
                hold=hold,
                scaling=scaling,
                unread=(Unread(what="resourcequotas", why=first_sentence_of(error)),),
            )
        return Trials(runners=runners, server=server, hold=hold, scaling=scaling, quotas=quotas, unread=unread)

    def _scaling(self, statefulset: StatefulSetFacts) -> str:
        """A stop takes one replica after the other: a policy may want some to be left."""
        try:
            for replicas in sorted({max(statefulset.replicas - 1, 0), 0}, reverse=True):
                self._kube.try_scale(statefulset, replicas)
        except KubernetesRefused as error:
            return error.message
        return ""

    def _runner(self, request: TrialRequest, statefulset: StatefulSetFacts, job: RunnerJob) -> Trial:
        task: RunnerTask[RunnerJob] = RunnerTask(
            site=request.site,
            lease=_NOBODY,
            fence="none",
            pod=f"{TRIAL_PREFIX}{job.mode}",
            job=job,
            data_claim=request.claim if job.needs.data != "none" else None,
            server_volumes=request.server_volumes,
            timeout=timedelta(hours=1),
        )
        try:
            pod = runner_pod(task, statefulset, None, self._agent_image)
        except InvalidInput as error:
            return Trial(name=job.mode, whose="runner", problem=error.message, is_known=False)
        tried = self._trial(job.mode, "runner", request.site.cluster.namespace, pod)
        selecting = self._kube.services_that_match(request.site.cluster.namespace, pod.metadata.labels)
        return tried.model_copy(update={"selected_by": tuple(selecting)})

    def _trial(self, name: str, whose: Whose, namespace: str, pod: V1Pod) -> Trial:
        """A quota that is full now may have room when the pod is created: then what the pod itself requests counts."""
        try:
            return trial(name, whose, self._kube.try_pod(namespace, pod))
        except QuotaExceeded as error:
            over = {"problem": error.message, "over_quota": error.details[0]}
            return trial(name, whose, pod).model_copy(update=over)
        except KubernetesRefused as error:
            return Trial(name=name, whose=whose, problem=error.message)


def _jobs(request: TrialRequest) -> Sequence[RunnerJob]:
    """One of each kind; what is in them plays no part."""
    cluster = request.site.cluster
    check = CheckJob(cluster=cluster, backup_id=_ID)
    restore = RestoreJob(
        cluster=cluster,
        backup_id=_ID,
        restore_id=_RESTORE,
        uuid=_UUID,
        ordinal=0,
        last=False,
        safe_to_bootstrap=True,
    )
    jobs: dict[Way, Sequence[RunnerJob]] = {
        "backup": [
            CheckJob(cluster=cluster, before_backup=True),
            BackupJob(
                cluster=cluster, backup_id=_ID, replica="", node="", claim=request.claim, claim_uid="", lease_run=""
            ),
            PruneJob(cluster=cluster, keep=1, own=_ID),
        ],
        "staged": [
            check,
            StageJob(cluster=cluster, backup_id=_ID, restore_id=_RESTORE, uuid=_UUID, safe_to_bootstrap=True),
            SwapJob(cluster=cluster, restore_id=_RESTORE, direction="in"),
        ],
        "rolling": [check, UnpackJob(cluster=cluster, backup_id=_ID, restore_id=_RESTORE, uuid=_UUID), restore],
        "in_place": [check, restore],
        "rollback": [
            CheckJob(cluster=cluster, without_backups=True),
            InspectJob(cluster=cluster, restore_id=_RESTORE),
            SwapJob(cluster=cluster, restore_id=_RESTORE, direction="back"),
        ],
    }
    return jobs[request.way]
