"""What runs: one line a part, then pods and addresses."""

from __future__ import annotations

import time

from dev.stack import cluster, lifecycle, processes, settings
from dev.stack.console import StackError


def show() -> bool:
    """Print the state of the stack; True if all of it is up."""
    healthy = True
    for name in lifecycle.PARTS:
        record = processes.running(name)
        if record is not None:
            print(f"{name:<24} running   pid {record.pid:<8} for {_duration(time.time() - record.started_at)}")
        else:
            healthy = False
            print(f"{name:<24} {'died' if processes.recorded(name) else 'not running'}")
    if processes.running("kube-apiserver") is None:
        return False
    try:
        return _show_cluster() and healthy
    except StackError as error:
        print(error)
        return False


def _show_cluster() -> bool:
    pods = cluster.pods()
    for pod in pods:
        containers = pod["status"].get("containerStatuses", [])
        restarts = sum(container["restartCount"] for container in containers)
        state = "ready" if cluster.is_ready(pod) else f"not ready ({pod['status'].get('phase')})"
        role = pod["metadata"].get("labels", {}).get("mariadb-role", "")
        print(f"{'pod ' + pod['metadata']['name']:<24} {state:<9} {pod['status'].get('podIP', '-'):<12} "
              f"restarts {restarts}  {role}")  # fmt: skip
    print(f"{'Temporal':<24} {settings.TEMPORAL_ADDRESS}, UI http://127.0.0.1:{settings.TEMPORAL_UI_PORT}")
    return len(pods) == settings.REPLICAS and all(cluster.is_ready(pod) for pod in pods)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
