"""What pods that looked at the data volumes have seen, and where the data directory is on each."""

from __future__ import annotations

from typing import Any

import pytest

from galera_backup.models.cluster import ClaimObservation
from galera_backup.models.inspection import ClusterFacts
from galera_backup.models.layout import HOST_FILES, Layout, NamedDirectory
from galera_backup.models.reports import CheckReport
from galera_backup.models.shape import ClusterShape, Mount
from galera_backup.rules.preflight.findings import key_volumes, layouts
from galera_backup.rules.preflight.volumes import placed, volume, volumes
from tests.unit.preflight.shapes import DATA, claim, cluster, mount, pod, server, servers, statefulset

CLAIMS = [f"mysql-data-mariadb-server-{ordinal}" for ordinal in range(3)]


def report(**fields: Any) -> CheckReport:
    values = {"data_total_kb": 100, "data_free_kb": 50, "data_used_kb": 10, "backup_free_kb": 50, "data_at": (".",)}
    return CheckReport.model_validate(values | fields)


def observed(ordinal: int = 0, **fields: Any) -> ClaimObservation:
    return ClaimObservation(ordinal=ordinal, claim=CLAIMS[ordinal], uid="u", layout=Layout(**fields))


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, []),
        ({"elsewhere": ("nova",)}, ["tables-elsewhere"]),
        ({"not_backed_up": ("nova/t (CONNECT)",)}, ["tables-not-backed-up"]),
        ({"unreadable": ("nova",)}, ["directories-unreadable"]),
        ({"backup_writable": False}, ["backups-not-writable"]),
        ({"volume_writable": False, "data_writable": False}, []),
        ({"staying": ("ca.pem",), "in_the_way": ("ibdata1: immutable",)}, []),
    ],
)
def test_what_a_backup_would_lack(fields: dict[str, Any], kinds: list[str]) -> None:
    assert [each.kind for each in volume(observed(), report(**fields))] == kinds


@pytest.mark.parametrize(
    ("seen", "where", "of_backup", "said", "kinds"),
    [
        ({}, {}, {}, False, []),
        ({"data_at": ("data",)}, {"below": "data"}, {"below": "data"}, False, []),
        ({"data_at": ("a/data",)}, {"sub_path": "a", "below": "data"}, {"below": "data"}, False, []),
        ({"data_at": ("data",)}, {}, {}, False, ["data-elsewhere"]),
        ({"data_at": (".", "old")}, {}, {}, False, []),
        ({"data_at": ()}, {}, {}, False, []),
        ({"data_at": ()}, {}, {"below": "data"}, False, ["data-directory-unknown"]),
        ({"data_at": ()}, {}, {"below": "data"}, True, []),
        ({"staying": ("ca.pem",)}, {}, {}, False, ["names-stay"]),
        ({"in_the_way": ("ibdata1: immutable",)}, {}, {}, False, ["data-in-the-way"]),
        ({"going": ("dump.sql",)}, {}, {}, False, ["names-removed"]),
        ({"data_at": ("data",)}, {"asked": True}, {"below": "data"}, False, []),
        ({"data_at": ()}, {"asked": True}, {"below": "data"}, False, []),
        ({"unreadable": (".",)}, {}, {}, False, ["directories-unreadable"]),
        (
            {"unreadable": ("nova", "keys"), "staying": ("keys",)},
            {},
            {},
            False,
            ["directories-unreadable", "names-stay"],
        ),
        ({"unreadable": ("keys",), "staying": ("keys",)}, {}, {}, False, ["names-stay"]),
        ({"backup_writable": False}, {}, {}, False, ["backups-not-writable"]),
        ({"volume_writable": False}, {}, {}, False, ["volume-not-writable"]),
        ({"data_writable": False}, {}, {}, False, ["volume-not-writable"]),
        ({"data_writable": False, "data_at": ()}, {}, {}, False, []),
        ({"data_writable": False, "data_at": ()}, {"asked": True}, {}, False, ["volume-not-writable"]),
    ],
)
def test_where_a_restore_would_work(
    seen: dict[str, Any], where: dict[str, Any], of_backup: dict[str, Any], said: bool, kinds: list[str]
) -> None:
    found = volumes([observed(**where)], [report(**seen)], Layout(**of_backup), said=said, staged=True)
    assert [each.kind for each in found] == kinds


def test_a_restore_without_a_second_copy_needs_the_data_directory_alone() -> None:
    def kinds(**fields: Any) -> list[str]:
        found = volumes([observed()], [report(**fields)], Layout(), said=False, staged=False)
        return [each.kind for each in found]

    assert kinds(volume_writable=False) == []
    assert kinds(data_writable=False) == ["volume-not-writable"]


NAMED = NamedDirectory(variable="log_bin_basename", path="binlog")


@pytest.mark.parametrize(
    ("data_at", "sub_path", "of_backup", "said", "expected"),
    [
        ((("data",), ("data",), ()), "", "data", False, "data"),
        ((("storage/data",), (), ()), "storage", "data", False, "data"),
        ((("storage",), (), ()), "storage", "", False, ""),
        (((".", "data"), (), ()), "", "data", False, "data"),
        ((("data",), (), ()), "", "data", True, ""),
        ((("data.bak",), (), ()), "", "", False, ""),
        ((("data",), (), ()), "other", "data", False, ""),
        (((), (), ()), "", "data", False, ""),
        ((("data",), (), ()), "", None, False, "data"),
        ((("data",), ("old",), ()), "", None, False, ""),
    ],
)
def test_where_the_data_is_when_no_server_says_it(
    data_at: tuple[tuple[str, ...], ...], sub_path: str, of_backup: str | None, said: bool, expected: str
) -> None:
    """`of_backup`: None: the manifest does not say it either."""
    claims = [observed(ordinal, sub_path=sub_path) for ordinal in range(3)]
    reports = [report(data_at=each) for each in data_at]
    manifest = Layout(below=of_backup or "", directories=(NAMED,), ignored=("exports",), asked=of_backup is not None)
    found = placed(claims, reports, manifest, said=said)
    assert {each.below for each in found} == {expected}
    assert {(each.sub_path, each.directories, each.ignored) for each in found} == {(sub_path, (NAMED,), ("exports",))}


def test_what_a_server_has_said_counts() -> None:
    claims = [observed(asked=True)]
    assert placed(claims, [report(data_at=("data",))], Layout(below="data", asked=True), said=False) == (
        Layout(asked=True),
    )


def facts(shape: ClusterShape, **fields: Any) -> ClusterFacts:
    return ClusterFacts(shape=shape, servers=tuple(servers(**fields)))


def shaped(ordinals: range = range(3), **fields: Any) -> ClusterShape:
    pods = tuple(pod(each, mounts=(mount(each, **fields),)) for each in ordinals)
    return cluster(members=pods, planned=pods)


def test_by_the_servers() -> None:
    found = layouts(facts(shaped(path="/data", sub_path="storage"), datadir="/data/mysql/"))
    assert list(found) == CLAIMS
    assert {(each.sub_path, each.below, each.host_files) for each in found.values()} == {
        ("storage", "mysql", HOST_FILES)
    }


def test_as_on_the_others_where_one_cannot_be_asked() -> None:
    shape = shaped(path="/data")
    asked = (server(0, datadir="/data/mysql", files={"log_bin_basename": "/data/mysql/binlog/bin"}),)
    found = layouts(ClusterFacts(shape=shape, servers=asked), host_files=("notes",))
    assert [each.below for each in found.values()] == ["mysql"] * 3
    directory = NamedDirectory(variable="log_bin_basename", path="binlog")
    assert [each.directories for each in found.values()] == [(directory,)] * 3
    assert all(each.asked for each in found.values())
    assert {each.host_files for each in found.values()} == {(*HOST_FILES, "notes")}


@pytest.mark.parametrize(("said", "below"), [(None, ""), ("/data", ""), ("/data/mysql", "mysql"), ("/elsewhere", "")])
def test_at_zero_by_the_request(said: str | None, below: str) -> None:
    shape = shaped(path="/data").model_copy(update={"members": (), "statefulset": statefulset(replicas=0)})
    found = layouts(ClusterFacts(shape=shape), said)
    assert [(each.below, each.asked) for each in found.values()] == [(below, False)] * 3


def test_at_zero_by_the_path_at_which_the_data_is_mounted() -> None:
    """The template mounts the claim a second time, for logs."""
    logs = [mount(each, "/logs", sub_path="logs") for each in range(3)]
    pods = tuple(pod(each, mounts=(logs[each], mount(each, sub_path="mysql"))) for each in range(3))
    found = layouts(ClusterFacts(shape=cluster(members=(), planned=pods)))
    assert {each.sub_path for each in found.values()} == {"mysql"}


def test_volumes_of_keys() -> None:
    keys = Mount(path="/etc/keys", volume="keys", kind="secret", source="galera-keys")
    members = tuple(pod(each, mounts=(mount(each), keys)) for each in range(3))
    file = {"file_key_management_filename": "/etc/keys/keys.enc", "ssl_ca": "/etc/keys/ca.pem"}
    assert key_volumes(facts(cluster(members=members), files=file)) == ("keys",)
    elsewhere = {"file_key_management_filename": f"{DATA}/keys.enc"}
    assert key_volumes(facts(cluster(members=members, claims=(claim(0),)), files=elsewhere)) == ()


@pytest.mark.parametrize(
    ("has", "kinds"),
    [
        (("innodb_page_size=16384", "lower_case_table_names=0"), []),
        (("innodb_page_size=65536", "lower_case_table_names=0"), ["settings-differ"]),
        (("innodb_page_size=16384", "lower_case_table_names=1"), ["settings-differ"]),
        (("lower_case_table_names=0",), []),
        ((), []),
    ],
)
def test_settings_to_which_data_is_bound(has: tuple[str, ...], kinds: list[str]) -> None:
    of_backup = Layout(binding=("innodb_page_size=16384", "lower_case_table_names=0"))
    found = list(volumes([observed(binding=has, asked=True)], [report()], of_backup, said=False, staged=True))
    assert [each.kind for each in found] == kinds
    assert list(volumes([observed(binding=has)], [report()], Layout(), said=False, staged=True)) == []
