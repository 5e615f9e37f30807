"""A staged restore is proved before its old data is given up: what cannot work is refused before the outage."""

from __future__ import annotations

from typing import Any

import pytest

from galera_backup.credentials import Credentials
from galera_backup.errors import DatabaseUnavailable
from galera_backup.models.passwords import PasswordReport
from galera_backup.models.proof import CheckSeen, SeenTables, Table
from galera_backup.models.restore import RestoreResult
from galera_backup.rules.proof import LARGEST, SMALLEST
from tests.fakes.faults import ALWAYS, Fault
from tests.fakes.stage import BACKUP_ID, Stage, failure_of
from tests.fakes.world import World

QUERY = "SELECT COUNT(*) FROM nova.instances"
CHECK = {"query": QUERY, "expected": 3}
HOLDS: tuple[int, list[str | None]] = (1, ["3"])
UNREADABLE = SeenTables((), may_select=False)


def proved(stage: Stage, answer: Any = HOLDS, live: Any = HOLDS) -> World:
    """A cluster with a backup, and what its servers answer to QUERY."""
    world = stage.world(backups=(BACKUP_ID,))
    world.proof.answers = {("live", QUERY): live, (BACKUP_ID, QUERY): answer}
    return world


async def restored(stage: Stage, world: World, **fields: Any) -> RestoreResult:
    result: RestoreResult = await (await stage.restore(world, strategy="staged", **fields)).result()
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {BACKUP_ID}
    return result


def assert_held(result: RestoreResult) -> None:
    """CHECK was asked, and the only table looked at."""
    assert result.proof is not None
    assert result.proof.checks == (CheckSeen(query=QUERY, seen="3"),)
    assert (result.proof.tables.checked, result.proof.tables.note) == (1, None)


async def failed(stage: Stage, world: World, after_the_cut: bool, **fields: Any) -> str:
    """The failure of a restore that must leave the old data in place."""
    failure = await failure_of(await stage.restore(world, strategy="staged", **fields))
    await stage.assert_settled(world)
    assert {claim.data for claim in world.claims.values()} == {"live"}
    assert ("scale 0" in world.events) == after_the_cut
    assert ("The previous data was swapped back" in failure.message) == after_the_cut
    return f"{failure.type}: {failure.message}"


# --- the cluster


async def test_servers_that_do_not_answer_are_asked_again(stage: Stage) -> None:
    """Lost connections are no proof that the restored cluster is another one."""
    world = stage.world(backups=(BACKUP_ID,))
    lost = world.faults.add(
        Fault(
            "wsrep_status",
            activity="observe_cluster",
            when=lambda _: "scale 3" in world.events,
            before=DatabaseUnavailable("lost"),
            times=3,
        )
    )
    await restored(stage, world)
    assert lost.times == 0
    assert [event for event in world.events if event.startswith("scale")] == ["scale 0", "scale 3"]


# --- SQL checks


async def test_checks_that_hold(stage: Stage) -> None:
    world = proved(stage)
    result = await restored(stage, world, checks=[CHECK, {"query": "SELECT NULL", "expected": "1"}])
    assert result.proof is not None
    assert result.proof.checks == (CheckSeen(query=QUERY, seen="3"), CheckSeen(query="SELECT NULL", seen="1"))
    assert (result.proof.tables.checked, result.proof.tables.seen, result.proof.tables.note) == (1, 1, None)
    assert result.proof.tables.replica == "mariadb-server-2"
    assert result.proof.passwords == PasswordReport(same=1)


async def test_check_that_fails_goes_back(stage: Stage) -> None:
    message = await failed(stage, proved(stage, (1, ["2"])), after_the_cut=True, checks=[CHECK])
    assert f"check 1 of 1 '{QUERY}' on 'mariadb-server-2': expected '3', seen '2'" in message


async def test_live_data_may_be_the_disaster(stage: Stage) -> None:
    assert_held(await restored(stage, proved(stage, live=1146), checks=[CHECK]))


async def test_check_that_cannot_work_is_refused_before_the_outage(stage: Stage) -> None:
    message = await failed(stage, proved(stage, live=1064), after_the_cut=False, checks=[CHECK])
    assert message.startswith(f"InvalidInput: checks: trying check 1 of 1 '{QUERY}'")
    assert "1064" in message


async def test_secret_that_is_not_there_is_refused_before_the_outage(stage: Stage) -> None:
    world = proved(stage)
    message = await failed(stage, world, after_the_cut=False, accounts=[{"secret": "keystone-db"}])
    assert message.startswith("ClusterNotFound: reading Secret")


async def test_checks_have_an_account_of_their_own(stage: Stage) -> None:
    world = proved(stage)
    world.secrets["reader"] = Credentials("reader", "word")
    users = []

    def note(arguments: Any) -> bool:
        users.append(arguments["server"].credentials.user)
        return False

    for method in ("ask", "seen_tables", "check_table"):
        world.faults.add(Fault(method, when=note))
    await restored(stage, world, checks=[CHECK], check_credentials={"secret": "reader"})
    assert users == ["reader"] * 5
    mounted = [
        source.secret.name
        for pod in world.created
        for volume in pod.spec.volumes
        if volume.projected is not None
        for source in volume.projected.sources
    ]
    assert mounted == ["mariadb-backup", "reader"] * 3


async def test_cluster_that_cannot_be_asked_does_not_refuse_its_restore(stage: Stage) -> None:
    world = proved(stage)
    world.faults.add(
        Fault(
            "ask",
            before=DatabaseUnavailable("lost"),
            when=lambda arguments: "live" in {claim.data for claim in world.claims.values()},
            times=ALWAYS,
        )
    )
    assert_held(await restored(stage, world, checks=[CHECK]))


@pytest.mark.parametrize("method", ["ask", "seen_tables", "check_table"])
async def test_connection_that_is_lost_while_proving(stage: Stage, method: str) -> None:
    world = proved(stage)
    world.faults.add(
        Fault(
            method,
            before=DatabaseUnavailable("lost"),
            when=lambda arguments: "live" not in {claim.data for claim in world.claims.values()},
            times=2,
        )
    )
    assert_held(await restored(stage, world, checks=[CHECK]))


# --- CHECK TABLE


async def test_damaged_table_goes_back(stage: Stage) -> None:
    world = proved(stage)
    world.proof.damaged = {"nova.instances": [("Warning", "Index x is marked as corrupted"), ("error", "Corrupt")]}
    message = await failed(stage, world, after_the_cut=True)
    assert "CHECK TABLE 'nova.instances' on 'mariadb-server-2': expected OK, seen error: Corrupt" in message


async def test_table_that_a_client_drops_meanwhile(stage: Stage) -> None:
    world = proved(stage)
    world.proof.damaged = {"nova.instances": [("Error", "Table doesn't exist"), ("status", "Operation failed")]}

    def drop(arguments: Any) -> bool:
        world.proof.seen_tables = SeenTables((), may_select=True)
        return False

    world.faults.add(Fault("check_table", when=drop))
    result = await restored(stage, world)
    assert result.proof is not None
    assert (result.proof.tables.checked, result.proof.tables.seen, result.proof.tables.note) == (1, 1, None)


@pytest.mark.parametrize("asked", ["sample", "none"])
async def test_account_that_may_not_read_is_told(stage: Stage, asked: str) -> None:
    world = proved(stage)
    world.proof.seen_tables = UNREADABLE
    result = await restored(stage, world, check_tables=asked)
    assert result.proof is not None
    assert result.proof.tables.checked == 0
    assert result.proof.tables.note == ("'backup' may not read any table" if asked == "sample" else None)


async def test_all_tables_need_an_account_that_may_read(stage: Stage) -> None:
    world = proved(stage)
    world.proof.seen_tables = UNREADABLE
    message = await failed(stage, world, after_the_cut=False, check_tables="all")
    assert message.startswith("InvalidInput: check_tables: 'backup' sees no table")


@pytest.mark.parametrize(("asked", "checked"), [("sample", SMALLEST + LARGEST), ("all", 30)])
async def test_sample_and_all(stage: Stage, asked: str, checked: int) -> None:
    world = proved(stage)
    engines = ["InnoDB"] * 25 + ["Aria"] * 5
    tables = tuple(Table("nova", f"t{number:02}", engine, number) for number, engine in enumerate(engines))
    world.proof.seen_tables = SeenTables(tables, may_select=True)
    result = await restored(stage, world, check_tables=asked)
    assert result.proof is not None
    assert (result.proof.tables.checked, result.proof.tables.seen) == (checked, 30)


@pytest.mark.parametrize("code", [1969, 1142])
async def test_table_that_was_not_looked_at(stage: Stage, code: int) -> None:
    world = proved(stage)
    world.proof.damaged = {"nova.instances": code}
    result = await restored(stage, world)
    assert result.proof is not None
    assert result.proof.tables.checked == 0
    assert "'nova.instances'" in str(result.proof.tables.note)
    other = proved(stage)
    other.proof.damaged = {"nova.instances": code}
    message = await failed(stage, other, after_the_cut=True, check_tables="all")
    assert "expected all tables to be looked at, seen 0" in message


# --- passwords


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (PasswordReport(different=("'backup'@'%'",)), "other passwords than are in use today: 'backup'@'%'"),
        (PasswordReport(missing=("'backup'",)), "no such user: 'backup'"),
    ],
)
async def test_other_passwords_are_found_before_the_outage(stage: Stage, report: PasswordReport, said: str) -> None:
    world = proved(stage)
    world.volume.passwords = report
    message = await failed(stage, world, after_the_cut=False)
    assert message.startswith("RestoreFailed: comparing the passwords in backup")
    assert said in message
    assert "'reset_passwords_from_secrets'" in message
    assert sum("started: stage" in event for event in world.events) == 3


async def test_passwords_are_set_on_every_claim(stage: Stage) -> None:
    world = proved(stage)
    world.volume.passwords = PasswordReport(different=("'backup'@'%'",))
    result = await restored(stage, world, reset_passwords_from_secrets=True)
    assert result.proof is not None
    assert result.proof.passwords.reset == ("'backup'@'%'",)


async def test_comparison_that_does_not_come_about_is_told(stage: Stage) -> None:
    world = proved(stage)
    world.volume.passwords = PasswordReport(problem="the server's exit status is 127")
    result = await restored(stage, world)
    assert result.proof is not None
    assert result.proof.passwords.problem == "the server's exit status is 127"
