"""Target and source of a clone are looked at, each as it is."""

from __future__ import annotations

from typing import Any, cast

from temporalio.testing import ActivityEnvironment

from activities.clone import CloneActivities
from galera_backup.errors import ClusterNotFound
from galera_backup.kube.gateway import KubeGateway
from galera_backup.models.clone import LookAtSides, Sides
from galera_backup.models.site import Site
from galera_backup.mysql.gateway import MysqlGateway
from tests.fakes.faults import Fault
from tests.fakes.gateways import FakeKube, FakeMysql, Worlds
from tests.fakes.world import World, fresh_cluster


async def test_the_source_has_a_container_and_a_port_of_its_own() -> None:
    """Those in the request are the target's."""
    worlds = Worlds()
    target, source = (worlds.add(World(fresh_cluster())) for _ in range(2))
    facts, ports = target.statefulset_facts, dict[str, int]()

    def of_target(container: str | None) -> Any:
        if container != "galera":
            raise ClusterNotFound(f"expected a container {container!r}")
        return facts(None)

    def note(arguments: Any) -> bool:
        ports[arguments["server"].namespace] = arguments["server"].port
        return False

    target.statefulset_facts = of_target  # type: ignore[method-assign]
    for world in (target, source):
        world.faults.add(Fault("group", when=note, times=-1))
    activities = CloneActivities(cast(KubeGateway, FakeKube(worlds)), cast(MysqlGateway, FakeMysql(worlds)))
    site = Site(cluster=target.cluster, container="galera", port=3307)
    request = LookAtSides(site=site, source=source.cluster)
    seen: Sides = await ActivityEnvironment().run(activities.look_at_sides, request)
    assert seen.source.unseen is None
    assert all(member.group is not None for side in (seen.target, seen.source) for member in side.members)
    assert ports == {target.cluster.namespace: 3307, source.cluster.namespace: 3306}
