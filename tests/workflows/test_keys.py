"""Backups of data that is encrypted at rest: their keys must be where the tools look for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubernetes.client import V1Container, V1PodSpec, V1SecretVolumeSource, V1Volume, V1VolumeMount

from galera_backup.errors import PreflightRefused
from galera_backup.models.layout import Layout
from galera_backup.models.shape import ClusterShape, Mount
from tests.fakes.stage import BACKUP_ID, Stage, failure_of
from tests.fakes.world import World

KEYS = Mount(path="/keys", volume="keys", kind="secret", source="keys")


def down(stage: Stage, *mounts: Mount) -> World:
    """A cluster at 0, whose servers nobody can ask, and a backup of encrypted data. `mounts`: of the template."""
    world = stage.world(backups=(BACKUP_ID,), at_zero=True)
    manifest = world.volume.manifests[BACKUP_ID]
    layout = Layout(key_files=("/keys/keys.txt",), asked=True)
    world.volume.manifests[BACKUP_ID] = manifest.model_copy(update={"layout": layout})

    def reshape(shape: ClusterShape) -> ClusterShape:
        planned = [each.model_copy(update={"mounts": (*each.mounts, *mounts)}) for each in shape.planned]
        return shape.model_copy(update={"planned": tuple(planned)})

    world.reshape = reshape
    facts = world.statefulset_facts
    volume = V1Volume(name="keys", secret=V1SecretVolumeSource(secret_name="keys"))
    server = V1Container(name="mariadb", volume_mounts=[V1VolumeMount(name="keys", mount_path="/keys")])
    template = V1PodSpec(containers=[server], volumes=[volume])
    world.statefulset_facts = lambda container: replace(  # type: ignore[method-assign]
        facts(container), pod=template, server=server
    )
    return world


@pytest.mark.parametrize("strategy", ["staged", "rolling", "in_place"])
async def test_where_no_server_says_it_the_backup_does(stage: Stage, strategy: str) -> None:
    world = down(stage, KEYS)
    await (await stage.restore(world, strategy=strategy, replicas=3)).result()

    def secrets(pod: Any) -> set[str]:
        return {each.secret.secret_name for each in pod.spec.volumes if each.secret is not None}

    tools = [pod for pod in world.created if any("--prepare" in str(each.command) for each in pod.spec.containers)]
    assert tools
    assert all("keys" in secrets(pod) for pod in tools)


@pytest.mark.parametrize("mounts", [(), (Mount(path="/keys", volume="keys", kind="emptyDir"),)])
async def test_keys_that_nobody_mounts(stage: Stage, mounts: tuple[Mount, ...]) -> None:
    """In place it was found when the old data was gone."""
    world = down(stage, *mounts)
    error = await failure_of(await stage.restore(world, strategy="in_place", replicas=3))
    assert isinstance(error, PreflightRefused)
    assert "expected the template's pods to have them in '/keys/keys.txt'" in error.message
    assert not any("started: restore" in event for event in world.events)
