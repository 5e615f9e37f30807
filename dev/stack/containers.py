"""What is done to containerd directly: load images, and end containers without the kubelet."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass

from dev.stack import oci, paths
from dev.stack.console import StackError, run, say, succeeds

PAUSE_REFERENCE = "docker.io/galera-backup/pause:1"
_GRACE_SECONDS = 60
_POLL = 0.1


@dataclass(frozen=True)
class Container:
    """A container with the pod that it belongs to."""

    id: str
    pod: str
    is_sandbox: bool


def _ctr(*argv: str) -> list[str]:
    return ["ctr", "--address", str(paths.CONTAINERD_SOCKET), "--namespace", "k8s.io", *argv]


def answers() -> bool:
    return succeeds(_ctr("version"), timeout=5)


def references() -> set[str]:
    """References of the images that containerd has."""
    return set(run("images", _ctr("images", "list", "--quiet")).split())


def load(image: oci.Image) -> None:
    """Stream what containerd does not have of an image into it."""
    present = {digest.removeprefix("sha256:") for digest in run("images", _ctr("content", "list", "--quiet")).split()}
    process = subprocess.Popen(
        _ctr("images", "import", "-"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        with process.stdin:
            image.write(process.stdin, present)
    except BrokenPipeError:
        pass  # its own words, below, say why
    with process.stderr:
        words = process.stderr.read().decode()
    if process.wait():
        message = f"import of {image.reference!r} failed: {words.strip()}"
        raise StackError("images", message, paths.LOGS / "containerd.log")


def running() -> list[Container]:
    """Containers whose process is alive."""
    return [_describe(identity) for identity in _alive()]


def _alive() -> set[str]:
    rows = [line.split() for line in run("containers", _ctr("tasks", "list")).splitlines()[1:]]
    return {identity for identity, _, status in rows if status == "RUNNING"}


def _describe(identity: str) -> Container:
    labels = json.loads(run("containers", _ctr("containers", "info", identity)))["Labels"]
    return Container(identity, labels["io.kubernetes.pod.name"], labels["io.cri-containerd.kind"] == "sandbox")


def stop_all() -> None:
    """End all containers gracefully, pods one after the other in falling order of their names.

    So replica 0 is the last member of the Galera cluster and the one that may form it again.
    """
    containers = running()
    for pod in sorted({container.pod for container in containers}, reverse=True):
        _end(pod, {container.id for container in containers if container.pod == pod and not container.is_sandbox})
    _end("sandboxes", {container.id for container in containers if container.is_sandbox})


def _end(pod: str, identities: set[str]) -> None:
    for identity in identities:
        succeeds(_ctr("tasks", "kill", "--signal", "SIGTERM", identity))
    deadline = time.monotonic() + _GRACE_SECONDS
    while left := _alive() & identities:
        if time.monotonic() > deadline:
            say("containers", f"{pod}: still running after {_GRACE_SECONDS} s, killing")
            for identity in left:
                succeeds(_ctr("tasks", "kill", "--signal", "SIGKILL", identity))
            deadline = float("inf")
        time.sleep(_POLL)


def forget_runtime_state() -> None:
    """Drop what describes running containers; only right while none runs (stopped, killed, or after a reboot)."""
    shutil.rmtree(paths.CONTAINERD_STATE, ignore_errors=True)
    paths.CONTAINERD_SOCKET.unlink(missing_ok=True)
