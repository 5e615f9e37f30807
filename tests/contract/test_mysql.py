"""The gateway to MariaDB and its fake say the same of a member, and do the same to its wsrep_desync."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from galera_backup.credentials import Credentials
from galera_backup.errors import DatabaseRefused, DatabaseUnavailable
from galera_backup.models.cluster import WsrepStatus
from galera_backup.mysql.gateway import Endpoint
from galera_backup.rules.health import DONOR_DESYNCED, SYNCED
from tests.contract.clusters import Subject
from tests.support.eventually import eventually


def status(subject: Subject, ordinal: int = 2) -> WsrepStatus:
    return subject.mysql.wsrep_status(subject.server(ordinal))


def in_time(subject: Subject) -> datetime:
    return subject.mysql.now(subject.server(2)) + timedelta(seconds=20)


def test_members_in_sync(subject: Subject) -> None:
    found = [status(subject, ordinal) for ordinal in range(3)]
    for each in found:
        assert each.ready
        assert each.connected
        assert (each.cluster_status, each.cluster_size) == ("Primary", 3)
        assert (each.local_state, each.local_state_comment) == (SYNCED, "Synced")
        assert (each.desync, each.desync_count, each.pending_desync) == (False, 0, False)
    assert len({(each.cluster_state_uuid, each.cluster_conf_id) for each in found}) == 1


def test_the_group(subject: Subject) -> None:
    groups = [subject.mysql.group(subject.server(ordinal)) for ordinal in range(3)]
    for group in groups:
        assert group.address.startswith("gcomm://")
        assert sorted(group.incoming) == sorted(subject.pod(ordinal).ip for ordinal in range(3))
        assert (group.size, group.state_uuid) == (3, status(subject).cluster_state_uuid)


def test_the_time_of_the_server(subject: Subject) -> None:
    """On this machine it is ours."""
    before = datetime.now(UTC)
    now = subject.mysql.now(subject.server(0))
    assert before - timedelta(seconds=1) < now < datetime.now(UTC) + timedelta(seconds=1)


async def test_desynced_and_back(subject: Subject) -> None:
    """ON does not nest; it has its effect at once, OFF a moment later."""
    server = subject.server(2)
    for _ in range(2):
        subject.mysql.set_desync(server, on=True, until=in_time(subject))
        seen = status(subject)
        assert (seen.desync, seen.desync_count, seen.pending_desync) == (True, 1, False)
        assert (seen.local_state, seen.local_state_comment) == (DONOR_DESYNCED, "Donor/Desynced")
        assert (seen.ready, seen.cluster_status, seen.cluster_size) == (True, "Primary", 3)
    await eventually(lambda: not subject.pod(2).ready, 20, "the pod is Not Ready")
    assert (status(subject, 0).local_state, status(subject, 0).desync_count) == (SYNCED, 0)
    await eventually(
        lambda: subject.kube.services_that_list(subject.namespace, subject.pod_name(2)) == [], 20, "no Service lists it"
    )
    for _ in range(2):
        subject.mysql.set_desync(server, on=False, until=in_time(subject))
        assert (status(subject).desync, status(subject).desync_count) == (False, 0)
    await eventually(lambda: status(subject).local_state == SYNCED, 20, "it is Synced")
    await eventually(lambda: subject.pod(2).ready, 20, "the pod is Ready")


def test_what_comes_late_has_no_effect(subject: Subject) -> None:
    server, past = subject.server(2), subject.mysql.now(subject.server(2)) - timedelta(milliseconds=1)
    subject.mysql.set_desync(server, on=True, until=past)
    assert not status(subject).desync
    subject.mysql.set_desync(server, on=True, until=in_time(subject))
    subject.mysql.set_desync(server, on=False, until=past)
    assert status(subject).desync
    subject.mysql.set_desync(server, on=False, until=in_time(subject))


CALLS: dict[str, Callable[[Subject, Endpoint], object]] = {
    "wsrep_status": lambda subject, server: subject.mysql.wsrep_status(server),
    "group": lambda subject, server: subject.mysql.group(server),
    "now": lambda subject, server: subject.mysql.now(server),
    "set_desync": lambda subject, server: subject.mysql.set_desync(server, on=False, until=in_time(subject)),
    "ask": lambda subject, server: subject.mysql.ask(server, "SELECT 1", timedelta(seconds=5)),
    "seen_tables": lambda subject, server: subject.mysql.seen_tables(server, timedelta(seconds=5)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_password_is_refused(subject: Subject, call: Callable[[Subject, Endpoint], object]) -> None:
    server = subject.server(0)
    for credentials in (replace(server.credentials, password="wrong"), Credentials("nobody", "wrong")):
        with pytest.raises(DatabaseRefused):
            call(subject, replace(server, credentials=credentials))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_cannot_be_reached(subject: Subject, call: Callable[[Subject, Endpoint], object]) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        call(subject, replace(subject.server(0), pod="nobody", port=1))
    assert time.monotonic() - began < 20


def test_asking(subject: Subject) -> None:
    assert subject.mysql.ask(subject.server(0), "SELECT 1", timedelta(seconds=5)) == (1, ["1"])
