"""Constants of the stack: versions, addresses, names. Each is stated here and nowhere else."""

from __future__ import annotations

from typing import Final

KUBERNETES: Final = "1.34.4"
COREDNS: Final = "1.12.2"
DEBIAN_SUITE: Final = "bookworm"

NODE_NAME: Final = "galera-node"
BRIDGE: Final = "gb0"
SUBNET: Final = "10.244.0.0/24"
NODE_IP: Final = "10.244.0.1"  # the bridge's own address: the kubelet refuses a loopback address as node IP
SUBNET_PREFIX: Final = 24
SERVICE_CIDR: Final = "10.96.0.0/16"
API_SERVICE_IP: Final = "10.96.0.1"
NFT_TABLE: Final = "galera-backup"

API_PORT: Final = 6443
ETCD_PORT: Final = 12379  # not 2379: Debian's own etcd service may run on this machine
ETCD_PEER_PORT: Final = 12380
COREDNS_READY_PORT: Final = 8181
TEMPORAL_PORT: Final = 7233
TEMPORAL_UI_PORT: Final = 8233
TEMPORAL_ADDRESS: Final = f"127.0.0.1:{TEMPORAL_PORT}"
SEARCH_ATTRIBUTES: Final = ("GaleraCluster", "GaleraReplica", "GaleraBackupId", "GaleraPhase")

NAMESPACE: Final = "openstack"
STATEFULSET: Final = "mariadb-server"
CONTAINER: Final = "mariadb"
REPLICAS: Final = 3
BACKUP_CLAIM: Final = "mariadb-phy-backup-data"
BACKUP_SECRET: Final = "mariadb-backup"
BACKUP_USER: Final = "backup"
PRIMARY_LABEL: Final = "mariadb-role=primary"

MYSQL_UID: Final = 999  # fixed in the image, so that a restore tool may chown to it
AGENT_UID: Final = 65532

DATA_VOLUME_GIB: Final = 4
BACKUP_VOLUME_GIB: Final = 12
DATA_SIZE: Final = "200M"
