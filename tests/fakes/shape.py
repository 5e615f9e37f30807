"""What the preflight looks at, of a world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from galera_backup import names
from galera_backup.models.server import ServerSettings, Setting
from galera_backup.models.shape import ClaimShape, ClusterShape, Mount, Owner, PodShape, StatefulSetShape

if TYPE_CHECKING:
    from tests.fakes.member import Member
    from tests.fakes.world import World

_UID, _REVISION, _IMAGE = "statefulset", "revision-1", "mariadb:10.11.19"
_BACKUPS = ClaimShape(name="backups", uid="b", phase="Bound", deleting=False, access_modes=("ReadWriteMany",))
_OWNER = Owner(api_version="apps/v1", kind="StatefulSet", name="mariadb-server", uid=_UID, controller=True)


def shape_of(world: World, replicas: int | None) -> ClusterShape:
    """Its objects, and nothing unusual."""
    ordinals = range(world.statefulset.replicas or replicas or 0)
    claims = [name for ordinal in ordinals if (name := world.claim_name(ordinal)) in world.claims]
    return ClusterShape(
        statefulset=StatefulSetShape(
            cluster=world.cluster,
            uid=_UID,
            replicas=world.statefulset.replicas,
            current_revision=_REVISION,
            update_revision=_REVISION,
            image=_IMAGE,
            container="mariadb",
            data_template="mysql-data",
        ),
        members=tuple(_member(world, member) for member in world.members.values()),
        planned=tuple(_pod(world, ordinal) for ordinal in ordinals),
        claims=(*(_claim(world, name, ordinal) for ordinal, name in enumerate(claims)), _BACKUPS),
    )


def settings_of(world: World) -> ServerSettings:
    """Of every server."""
    group = world.group()
    return ServerSettings(
        version="10.11.19-MariaDB-log",
        datadir=world.datadir,
        files=(Setting(name="base_dir", value=world.datadir),),
        group_size=group.size,
        incoming=group.incoming,
        privileges=frozenset({"RELOAD", "PROCESS", "SUPER"}),
    ).model_copy(update=dict(world.servers_say))


def _member(world: World, member: Member) -> PodShape:
    facts = member.facts()
    found = _pod(world, member.ordinal)
    seen = {"uid": facts.uid, "phase": facts.phase, "deleting": facts.deleting, "ready": facts.ready}
    return found.model_copy(update=seen | {"node": facts.node, "ip": facts.ip})


def _pod(world: World, ordinal: int) -> PodShape:
    claim = world.claim_name(ordinal)
    return PodShape(
        name=names.pod(world.cluster, ordinal),
        uid="",
        phase="",
        deleting=False,
        node="",
        owners=(_OWNER,),
        revision=_REVISION,
        image=_IMAGE,
        unready_after=6,
        mounts=(Mount(path="/var/lib/mysql", volume="mysql-data", kind="claim", source=claim),),
    )


def _claim(world: World, name: str, ordinal: int) -> ClaimShape:
    return ClaimShape(
        name=name,
        ordinal=ordinal,
        uid=world.claims[name].uid,
        phase="Bound",
        deleting=False,
        access_modes=("ReadWriteOnce",),
    )
