"""The document's order with gzip, as its product does it: plain pods, one after the other, in the outage.

The document says nothing of grastate.dat, and `--copy-back` leaves none: ordinal 0 bootstraps when the start script has
waited for others in vain, and the others join as that lets them.
"""

from __future__ import annotations

import time
from typing import Any

from kubernetes.client import ApiClient, CoreV1Api

from benchmarks._load import CLUSTER, REPLICAS, TARGET, address
from benchmarks._outage import MEMBERS
from dev.stack import cluster, paths, settings
from dev.stack.console import say
from galera_backup.kube.facts import pod_facts
from galera_backup.storage.durable import remove

STORED, UNPACKED = "benchmark.mbs.gz", "benchmark-restore"
BACKUP_POD = "benchmark-gzip-backup"
VOLUME = paths.VOLUME_MOUNTS / settings.BACKUP_CLAIM
POLL = 0.2
READY_SECONDS = 3600

BACKUP = f"""
set -eo pipefail
mkdir /tmp/work /tmp/work/backup
printf '[client]\\nuser=%s\\npassword=%s\\n' "$BACKUP_USER" "$BACKUP_PASSWORD" > /tmp/work/client.cnf
set -- ; if [ -d /var/lib/mysql/lost+found ] && [ ! -r /var/lib/mysql/lost+found ]; then
  set -- --databases-exclude=lost+found; fi
mariadb-backup --defaults-file=/tmp/work/client.cnf --backup --galera-info --stream=mbstream --host="$MARIADB_HOST" \\
  --datadir=/var/lib/mysql --target-dir=/tmp/work/backup --tmpdir=/tmp/work "$@" 2>/tmp/work/backup.log \\
  | gzip -1 > /var/backup/{STORED} || {{ tail -n 20 /tmp/work/backup.log; exit 1; }}
tail -n 1 /tmp/work/backup.log | grep 'completed OK!'
"""
RESTORE = f"""
set -eo pipefail
where=/var/backup/{UNPACKED}
if [ ! -e $where/.prepared ]; then
  rm -rf $where
  mkdir -p $where/data
  gzip -dc /var/backup/{STORED} | mbstream -x -C $where/data
  mariadb-backup --prepare --target-dir=$where/data
  touch $where/.prepared
fi
find /var/lib/mysql -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {{}} +
mariadb-backup --copy-back --force-non-empty-directories --target-dir=$where/data --datadir=/var/lib/mysql
if [ -n "$LAST" ]; then rm -rf $where; fi
"""


class Document:
    """Its backup and its restore."""

    def __init__(self, api_client: ApiClient) -> None:
        self._core = CoreV1Api(api_client)

    def backup(self) -> None:
        """Of the last replica."""
        self._run(BACKUP_POD, BACKUP, TARGET, {"MARIADB_HOST": address(TARGET)})

    def restore(self) -> None:
        """Until all replicas are Ready. One that is cut off leaves half a data directory, so it is done once more."""
        try:
            self._restore()
        except BaseException as error:
            say("document's order", f"cut off ({error!r}): once more, so that the cluster is whole afterwards")
            self._remove_pods()
            self._restore()
            raise

    def remove(self) -> None:
        """The backup, and what a failed run has left."""
        self._remove_pods()
        remove(VOLUME / STORED)
        remove(VOLUME / UNPACKED)

    def _remove_pods(self) -> None:
        for name in (BACKUP_POD, *map(_runner, REPLICAS)):
            self._remove(name)

    def _restore(self) -> None:
        self._scale(0)
        while self._members():
            time.sleep(POLL)
        for replica in REPLICAS:
            self._run(_runner(replica), RESTORE, replica, {"LAST": "yes" if replica == REPLICAS[-1] else ""})
        self._scale(len(REPLICAS))
        self._wait_ready()

    def _wait_ready(self) -> None:
        """Also the cluster's controller, which gives the label of the primary: here to the first pod that there is."""
        deadline, labelled = time.monotonic() + READY_SECONDS, False
        while True:
            members = self._members()
            if sum(pod_facts(pod).ready for pod in members) == len(REPLICAS):
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"after the document's order not all replicas are Ready within {READY_SECONDS} s")
            if members and not labelled:
                cluster.ensure_primary()
                labelled = True
            time.sleep(POLL)

    def _members(self) -> list[Any]:
        found: list[Any] = self._core.list_namespaced_pod(CLUSTER.namespace, label_selector=MEMBERS).items
        return found

    def _scale(self, replicas: int) -> None:
        what = f"statefulset/{CLUSTER.statefulset}"
        cluster.kubectl("--namespace", CLUSTER.namespace, "scale", what, f"--replicas={replicas}")

    def _run(self, name: str, script: str, replica: str, environment: dict[str, str]) -> None:
        """A pod to its end; then it is removed."""
        self._core.create_namespaced_pod(CLUSTER.namespace, _pod(name, script, replica, environment))
        try:
            while (phase := self._core.read_namespaced_pod(name, CLUSTER.namespace).status.phase) != "Succeeded":
                if phase == "Failed":
                    log = cluster.kubectl("--namespace", CLUSTER.namespace, "logs", name, "--tail=20")
                    raise SystemExit(f"pod {name} failed:\n{log}")
                time.sleep(POLL)
        finally:
            self._remove(name)

    def _remove(self, name: str) -> None:
        argv = ["delete", "pod", name, "--ignore-not-found", "--grace-period=1"]
        cluster.kubectl("--namespace", CLUSTER.namespace, *argv)


def _runner(replica: str) -> str:
    return f"benchmark-gzip-restore-{replica}"


def _pod(name: str, script: str, replica: str, environment: dict[str, str]) -> dict[str, Any]:
    """As an ordinary pod of the server's image, with what the server requests."""
    statefulset = cluster.get("--namespace", CLUSTER.namespace, "statefulset", CLUSTER.statefulset)
    template = statefulset["spec"]["template"]["spec"]
    [server] = [each for each in template["containers"] if each["name"] == settings.CONTAINER]
    secret = {"BACKUP_USER": "username", "BACKUP_PASSWORD": "password"}
    claims = {"data": f"mysql-data-{replica}", "backup": settings.BACKUP_CLAIM}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"application": "benchmark"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": template["securityContext"],
            "containers": [
                {
                    "name": "runner",
                    "image": server["image"],
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["bash", "-c", script],
                    "env": [
                        *({"name": key, "value": value} for key, value in environment.items()),
                        *(
                            {"name": key, "valueFrom": {"secretKeyRef": {"name": settings.BACKUP_SECRET, "key": value}}}
                            for key, value in secret.items()
                        ),
                    ],
                    "resources": server["resources"],
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/var/lib/mysql"},
                        {"name": "backup", "mountPath": "/var/backup"},
                    ],
                }
            ],
            "volumes": [{"name": key, "persistentVolumeClaim": {"claimName": claim}} for key, claim in claims.items()],
        },
    }
