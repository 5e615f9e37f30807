"""A member in sync, from which the tests of the rules make all others."""

from __future__ import annotations

from galera_backup.models.cluster import WsrepStatus
from galera_backup.models.common import ClusterRef

CLUSTER = ClusterRef(namespace="openstack", statefulset="mariadb-server")
GOOD = WsrepStatus(
    ready=True,
    connected=True,
    cluster_status="Primary",
    local_state=4,
    local_state_comment="Synced",
    cluster_size=3,
    cluster_state_uuid="u",
    cluster_conf_id=7,
    desync=False,
    desync_count=0,
    recv_queue=0,
    pending_desync=False,
)
