"""Where the files of a server are, and what that means for a backup and a restore of its data directory."""

from __future__ import annotations

import pytest

from galera_backup.models.layout import HOST_FILES, Layout, NamedDirectory
from galera_backup.models.shape import ClusterShape, Mount
from galera_backup.rules.preflight.places import layout, left_elsewhere, mount_of, places
from tests.unit.preflight.shapes import DATA, cluster, mount, pod, server, servers, settings, statefulset

BITNAMI = "/bitnami/mariadb"
MOUNTED = "mounted-in-the-data-directory"
LOGS = Mount(path="/logs", volume="logs", kind="claim", source="logs-mariadb-server-0")


def with_mounts(*mounts: Mount) -> ClusterShape:
    """Only the first member runs."""
    return cluster(members=(pod(0, mounts=mounts),))


def kinds(seen: ClusterShape, **fields: object) -> list[str]:
    return [each.kind for each in places(seen, servers(**fields))]


def test_the_mount_is_the_data_directory() -> None:
    assert kinds(cluster()) == []
    assert layout(pod(0), mount(0), settings()) == Layout(asked=True)


def test_the_data_directory_lies_below_the_mount() -> None:
    members = tuple(pod(ordinal, mounts=(mount(ordinal, BITNAMI),)) for ordinal in range(3))
    files = dict.fromkeys(("aria_log_dir_path", "base_dir", "wsrep_data_home_dir"), f"{BITNAMI}/data/")
    below = {"datadir": f"{BITNAMI}/data/", "files": files}
    assert kinds(cluster(members=members), **below) == []
    where = mount(0, BITNAMI, sub_path="storage")
    found = layout(pod(0, mounts=(where,)), where, settings(**below))
    assert (found.below, str(found.data_directory)) == ("data", "storage/data")


def test_it_is_not_at_the_same_place_everywhere() -> None:
    files = dict.fromkeys(("aria_log_dir_path", "base_dir", "wsrep_data_home_dir"), f"{DATA}/data")
    asked = [server(0), server(1), server(2, datadir=f"{DATA}/data", files=files)]
    (finding,) = places(cluster(), asked)
    assert finding.kind == "datadir-differs"
    assert "'.' on mariadb-server-0, '.' on mariadb-server-1, 'data' on mariadb-server-2" in finding.saw


@pytest.mark.parametrize(
    ("mounts", "where"),
    [
        ((Mount(path="/tmp", volume="tmp", kind="emptyDir"),), "in the container's own filesystem"),
        ((Mount(path=DATA, volume="scratch", kind="emptyDir"),), "on emptyDir 'scratch'"),
        ((mount(0, source="another-claim"),), "on claim 'another-claim'"),
        ((mount(0), Mount(path=f"{DATA}/", volume="x", kind="hostPath", source="/data")), "on hostPath '/data'"),
    ],
)
def test_the_data_directory_is_elsewhere(mounts: tuple[Mount, ...], where: str) -> None:
    (finding,) = places(with_mounts(*mounts[::-1]), [server(0)])
    assert finding.kind == "datadir-elsewhere"
    assert where in finding.saw


def test_a_sub_path_that_only_the_kubelet_knows() -> None:
    unresolved = mount(0, unresolved="$(SHARD)/data")
    assert kinds(with_mounts(unresolved)) == ["datadir-unresolved"]


def test_the_longest_mount_holds_a_path() -> None:
    nested = Mount(path=f"{DATA}/binlog", volume="logs", kind="claim", source="logs")
    seen = pod(0, mounts=(mount(0), nested, mount(0, "/var")))
    assert mount_of(seen, f"{DATA}/binlog/bin.000001") == nested
    assert mount_of(seen, f"{DATA}/binlogs") == mount(0)
    assert mount_of(seen, "/variable") is None


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("log_bin_basename", f"{DATA}/binlog/bin", "binlog"),
        ("log_bin_index", f"{DATA}/binlog/bin.index", "binlog"),
        ("relay_log_basename", "relay/relay", "relay"),
        ("innodb_undo_directory", "./undo", "undo"),
        ("innodb_log_group_home_dir", f"{DATA}/redo/", "redo"),
        ("aria_log_dir_path", f"{DATA}/aria/logs", "aria/logs"),
        ("tmpdir", f"/tmp:{DATA}/tmp", "tmp"),
        ("general_log_file", "logs/general.log", "logs"),
        ("log_error", f"{DATA}/logs/../logs/error.log", "logs"),
        ("gcache.dir", f"{DATA}/gcache", "gcache"),
        ("pid_file", "run/mariadb.pid", "run"),
        ("socket", f"{DATA}/run/mysqld.sock", "run"),
        ("server_audit_file_path", "audit/server_audit.log", "audit"),
        ("server_audit_file_path", f"{DATA}/audit/", "audit"),
        ("relay_log_index", "relay/relay.index", "relay"),
        ("secure_file_priv", f"{DATA}/files/", "files"),
    ],
)
def test_a_directory_below_it_that_a_setting_names(name: str, value: str, path: str) -> None:
    assert kinds(cluster(), files={name: value}) == []
    assert layout(pod(0), mount(0), settings(files={name: value})).directories == (
        NamedDirectory(variable=name, path=path),
    )


def test_data_files_below_it() -> None:
    files = {"innodb_data_home_dir": "system", "innodb_data_file_path": "ibdata1:12M;more/ibdata2:12M:autoextend"}
    assert kinds(cluster(), files=files) == []
    assert layout(pod(0), mount(0), settings(files=files)).directories == (
        NamedDirectory(variable="innodb_data_file_path", path="system", files=("ibdata1",)),
        NamedDirectory(variable="innodb_data_file_path", path="system/more", files=("ibdata2",)),
        NamedDirectory(variable="innodb_data_home_dir", path="system"),
    )


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("innodb_undo_directory", "/logs/undo", "data-files-elsewhere"),
        ("innodb_data_file_path", "ibdata1:12M;/logs/ibdata2:12M:autoextend", "data-files-elsewhere"),
        ("innodb_log_group_home_dir", "/root/redo", "data-files-elsewhere"),
        ("aria_log_dir_path", "/logs", "data-files-elsewhere"),
        ("log_bin_basename", "/logs/bin", "logs-elsewhere"),
        ("relay_log_basename", "../../../logs/relay", "logs-elsewhere"),
        ("log_bin_basename", "/tmp/bin", None),  # goes with the pod, so it is no other history's
        ("log_bin_basename", "/root/bin", None),
        ("log_bin_basename", "/nfs/bin", "logs-elsewhere"),
        ("wsrep_data_home_dir", "/logs/galera", "galera-state-elsewhere"),
        ("wsrep_data_home_dir", f"{DATA}/galera", "galera-state-elsewhere"),
        ("base_dir", "galera/", "galera-state-elsewhere"),
        ("base_dir", "./", None),
        ("log_bin_basename", "/var/lib/binlog/bin", "logs-elsewhere"),  # beside it, on the same mount
        ("innodb_undo_directory", "/var/lib/undo", "data-files-elsewhere"),
        ("tmpdir", "/var/lib/tmp", None),
        ("tmpdir", "/logs", None),
        ("general_log_file", "/logs/general.log", None),
        ("gcache.dir", "/logs", None),
    ],
)
def test_a_setting_names_another_place(name: str, value: str, kind: str | None) -> None:
    nfs = Mount(path="/nfs", volume="nfs", kind="other")
    seen = with_mounts(mount(0, "/var/lib"), LOGS, nfs, Mount(path="/tmp", volume="tmp", kind="emptyDir"))
    assert kinds(seen, files={name: value}) == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("inside", "files", "expected"),
    [
        ({"kind": "claim", "source": "archive"}, {}, [MOUNTED]),
        ({"kind": "hostPath", "source": "/srv"}, {}, [MOUNTED]),
        ({"kind": "other"}, {}, [MOUNTED]),
        ({"kind": "claim", "source": "mysql-data-mariadb-server-0", "sub_path": "archive"}, {}, [MOUNTED]),
        ({"kind": "emptyDir"}, {}, []),
        ({"kind": "secret", "source": "certificates"}, {}, []),
        ({"kind": "claim", "source": "logs"}, {"general_log_file": f"{DATA}/archive/general.log"}, []),
        ({"kind": "claim", "source": "logs"}, {"log_bin_basename": f"{DATA}/archive/bin"}, ["logs-elsewhere"]),
    ],
)
def test_a_volume_inside_the_data_directory(inside: dict[str, str], files: dict[str, str], expected: list[str]) -> None:
    mounted = Mount.model_validate({"path": f"{DATA}/archive", "volume": "archive", **inside})
    assert kinds(with_mounts(mount(0), mounted), files=files) == expected


def test_what_is_known_where_no_server_answers() -> None:
    """At 0 replicas, say; `statefulset.replicas` may be 0 then."""
    at_zero = statefulset(replicas=0)
    inside = Mount(path=f"{DATA}/archive", volume="archive", kind="claim", source="archive")
    planned = (pod(0, mounts=(mount(0, unresolved="$(SHARD)"),)), pod(1, mounts=(mount(1), inside)), pod(2))
    seen = cluster(statefulset=at_zero, members=(), planned=planned)
    assert [(each.kind, each.about) for each in places(seen, [])] == [
        ("datadir-unresolved", "data directory of 'mariadb-server-0'"),
        ("mounted-in-the-data-directory", "data directory of 'mariadb-server-1'"),
    ]
    asked = [server(0), server(1)]
    assert list(places(cluster(planned=planned), asked)) == []


def test_a_silent_member_is_judged_by_what_the_others_say() -> None:
    inside = Mount(path=f"{DATA}/logs", volume="logs", kind="claim", source="logs")
    members = tuple(pod(ordinal, mounts=(mount(ordinal), inside)) for ordinal in range(2))
    files = {"general_log_file": f"{DATA}/logs/general.log"}
    assert list(places(cluster(members=members, planned=members), [server(0, files=files)])) == []


def test_a_directory_on_another_volume_is_not_made_on_this_one() -> None:
    tmp = Mount(path=f"{DATA}/tmp", volume="tmp", kind="emptyDir")
    files = {"tmpdir": f"{DATA}/tmp", "innodb_tmpdir": f"{DATA}/tmp/innodb", "slave_load_tmpdir": f"{DATA}/load"}
    found = layout(pod(0, mounts=(mount(0), tmp)), mount(0), settings(files=files))
    assert [each.path for each in found.directories] == ["load"]


def test_files_with_keys_are_the_hosts() -> None:
    files = {"file_key_management_filename": f"{DATA}/keys/keys.enc", "file_key_management_filekey": "FILE:/logs/key"}
    assert kinds(with_mounts(mount(0), LOGS), files=files) == []
    assert layout(pod(0), mount(0), settings(files=files)).directories == ()


def test_names_that_are_no_databases() -> None:
    assert layout(pod(0), mount(0), settings(ignored=("exports",))).ignored == ("exports",)


def test_another_directory_of_the_same_volume() -> None:
    """Mounted by a sub path of its own: it is not in the data directory, and no backup of that has it."""
    logs = mount(0, "/binlog", sub_path="binlog")
    assert kinds(with_mounts(mount(0), logs), files={"log_bin_basename": "/binlog/bin"}) == ["logs-elsewhere"]


def test_a_server_that_could_not_be_asked() -> None:
    silent = server(1).model_copy(update={"settings": None, "error": "no answer"})
    assert list(places(cluster(), [server(0), silent])) == []


def test_what_no_server_makes_is_the_hosts() -> None:
    """By the name at the top of the data directory, as a pattern."""
    files = {
        "ssl_cert": f"{DATA}/tls[1]/cert.pem",
        "ssl_key": f"{DATA}/tls[1]/key.pem",
        "ssl_ca": "/etc/ssl/ca.pem",
        "init_file": "init.sql",
        "socket.ssl_key": "galera/key.pem",
    }
    found = layout(pod(0), mount(0), settings(files=files))
    assert found.host_files == (*HOST_FILES, "galera", "init.sql", "tls[[]1]")
    assert found.directories == ()
    assert kinds(cluster(), files=files) == []


@pytest.mark.parametrize(
    ("mounts", "kinds"),
    [
        ((mount(0), LOGS), ["logs-were-elsewhere"]),
        ((mount(0, "/var/lib"),), []),
        ((mount(0), LOGS.model_copy(update={"kind": "emptyDir"})), []),
        ((mount(0),), []),
        ((mount(0, "/"),), ["logs-were-elsewhere"]),
        (None, ["logs-were-elsewhere"]),
    ],
)
def test_logs_that_nobody_can_be_asked_for(mounts: tuple[Mount, ...] | None, kinds: list[str]) -> None:
    """The servers are down; that of the backup had its binlogs on a claim of their own."""
    running = pod(0, mounts=(mount(0), LOGS))
    of_backup = layout(running, mount(0), settings(files={"log_bin_basename": "/logs/bin", "tmpdir": "/logs/tmp"}))
    assert of_backup.elsewhere == ("/logs/bin",)
    planned = pod(0, mounts=mounts) if mounts is not None else None
    assert [each.kind for each in left_elsewhere(of_backup, planned)] == kinds


def test_logs_in_the_data_directory_are_not_elsewhere() -> None:
    found = layout(pod(0), mount(0), settings(files={"log_bin_basename": f"{DATA}/binlog/bin"}))
    assert found.elsewhere == ()
    assert list(left_elsewhere(found, None)) == []
