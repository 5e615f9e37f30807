"""Thin calls to Kubernetes, MariaDB and Temporal: each fetches facts or has one effect, and may run twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio.client import Client

from activities._fence import Fence
from activities.clone import CloneActivities
from activities.galera import GaleraActivities
from activities.holds import HoldActivities
from activities.janitor import JanitorActivities
from activities.kubernetes import KubernetesActivities
from activities.preflight import PreflightActivities
from activities.prove import ProveActivities
from activities.runner import RunnerActivities
from activities.temporal import TemporalActivities
from activities.trial import TrialActivities
from galera_backup.kube.gateway import KubeGateway
from galera_backup.mysql.gateway import MysqlGateway


def build_activities(
    kube: KubeGateway, mysql: MysqlGateway, client: Client, agent_image: str
) -> list[Callable[..., Any]]:
    """All activities, over these clients. `agent_image`: what the agent container of a runner pod runs."""
    fence = Fence(client, kube)
    galera = GaleraActivities(kube, mysql, fence)
    kubernetes = KubernetesActivities(kube, fence)
    runner = RunnerActivities(kube, mysql, fence, agent_image)
    prove = ProveActivities(kube, mysql)
    temporal = TemporalActivities(client)
    janitor = JanitorActivities(kube, mysql, client)
    clone = CloneActivities(kube, mysql)
    preflight = PreflightActivities(kube, mysql)
    trial = TrialActivities(kube, agent_image)
    holds = HoldActivities(kube, fence, agent_image)
    return [
        galera.observe_cluster,
        preflight.inspect_cluster,
        trial.try_pods,
        galera.mark_replica,
        galera.desync,
        galera.resync,
        galera.wait_formed,
        kubernetes.move_primary,
        kubernetes.move_primary_back,
        kubernetes.wait_out_of_service,
        kubernetes.wait_in_service,
        kubernetes.revoke_replica,
        kubernetes.unmark_replica,
        kubernetes.scale_down,
        kubernetes.wait_stopped,
        kubernetes.revoke_statefulset,
        kubernetes.renew_mark,
        kubernetes.scale_up,
        kubernetes.unmark_statefulset,
        holds.hold_names,
        holds.release_names,
        runner.run_runner,
        runner.remove_runners,
        runner.remove_orphans,
        prove.try_checks,
        prove.run_checks,
        prove.check_tables,
        temporal.lease_holder,
        temporal.wait_until_closed,
        janitor.survey_cluster,
        janitor.remark_statefulset,
        clone.look_at_sides,
    ]
