"""The stack itself, as far as operations rely on it."""

from __future__ import annotations

import subprocess
import time

import pytest

from dev.stack import paths, settings
from tests.integration.galera import FIRST, OTHER, PODS, TARGET, Galera
from tests.support.eventually import eventually

pytestmark = pytest.mark.usefixtures("stack_cluster")


def test_a_second_up_takes_seconds(alone: None) -> None:
    began = time.monotonic()
    done = subprocess.run([paths.DEV / "up"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 15


def test_the_backup_user_has_exactly_the_documented_grants(galera: Galera) -> None:
    user, password = galera.secret()
    assert user == settings.BACKUP_USER
    for pod in PODS:
        [grant] = galera.root_sql(f"SHOW GRANTS FOR '{user}'@'%'", pod).splitlines()
        rights, _, rest = grant.removeprefix("GRANT ").partition(" ON *.* TO ")
        assert set(rights.split(", ")) == {"RELOAD", "PROCESS", "SUPER"}
        assert "GRANT OPTION" not in rest
        assert password not in grant


async def test_the_service_follows_the_primary_label(galera: Galera) -> None:
    assert galera.endpoints("mariadb") == {FIRST}
    try:
        galera.set_role(OTHER, "primary")
        galera.set_role(FIRST, None)
        await eventually(lambda: galera.endpoints("mariadb") == {OTHER}, 20, "the Service has the new primary")
    finally:
        galera.set_role(FIRST, "primary")
        galera.set_role(OTHER, None)
    await eventually(lambda: galera.endpoints("mariadb") == {FIRST}, 20, "the Service has the old primary")


async def test_the_services_follow_readiness(galera: Galera) -> None:
    galera.root_sql("SET GLOBAL wsrep_desync=ON", TARGET)
    try:
        others = set(PODS) - {TARGET}
        await eventually(lambda: galera.endpoints("mariadb-replicas") == others, 20, "a desynced replica is out")
        assert galera.wsrep(TARGET)["wsrep_local_state_comment"] == "Donor/Desynced"
    finally:
        galera.root_sql("SET GLOBAL wsrep_desync=OFF", TARGET)
    await eventually(lambda: galera.endpoints("mariadb-replicas") == set(PODS), 20, "it is back in")
