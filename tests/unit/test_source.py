"""Which changes of the product's source change a hash, and for which operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.tools import source
from tests.support.reach import reach, reached
from tests.support.scope import ROOTS

RULES = '''"""Rules."""

LIMIT = 1
"""Of something."""


def ask(a):
    """Ask."""
    return a
'''
FILES = {
    "galera_backup/__init__.py": "",
    "galera_backup/rules.py": RULES,
    "galera_backup/kube/__init__.py": "from galera_backup.kube.gateway import Kube\n",
    "galera_backup/kube/gateway.py": "class Kube: ...\n",
    "galera_backup/kube/facts.py": "class Facts: ...\n",
    "galera_backup/runner/__init__.py": "",
    "galera_backup/runner/__main__.py": "from galera_backup.runner import agent\n",
    "galera_backup/runner/agent.py": "print('works')\n",
    "galera_backup/runner/scripts/start.sh": "exec true\n",
    "activities/__init__.py": "from activities.lease import Lease\nfrom activities.prove import Prove\n",
    "activities/lease.py": "from galera_backup import rules\nfrom galera_backup.kube import facts\nclass Lease: ...\n",
    "activities/prove.py": "class Prove: ...\n",
    "workflows/__init__.py": "from workflows.backup import Backup\nfrom workflows.restore import Restore\n",
    "workflows/backup.py": "from activities.lease import Lease\n\n\nclass Backup: ...\n",
    "workflows/restore.py": "def run():\n    from activities.prove import Prove\n\n\nclass Restore: ...\n",
    "starters/__init__.py": "",
    "starters/cli.py": "from galera_backup import rules\n",
    "galera_backup/temporal.py": "LIMIT = 0\n",
    "worker.py": "from galera_backup import temporal\nfrom workflows import Backup\n",
}
BACKUP, RESTORE = ("workflows.backup",), ("workflows.restore",)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def changed(checkout: Path, name: str, old: str, new: str) -> tuple[bool, bool, bool]:
    """Whether a change of a file changes the hash of the product, of a backup and of a restore."""
    before = _hashes(checkout)
    text = (checkout / name).read_text()
    assert old in text
    (checkout / name).write_text(text.replace(old, new))
    product, backup, restore = (a != b for a, b in zip(before, _hashes(checkout), strict=True))
    return product, backup, restore


def _hashes(checkout: Path) -> tuple[str, str, str]:
    return source.product(checkout), reach(BACKUP, checkout), reach(RESTORE, checkout)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Rules."""', '"""Other rules."""'),
        ('"""Rules."""\n', ""),
        ('"""Of something."""\n', ""),
        ('    """Ask."""\n', ""),
        ("LIMIT = 1", "LIMIT = 1  # why"),
        ("LIMIT = 1", "LIMIT    =   (1)"),
    ],
)
def test_words_and_layout_change_nothing(checkout: Path, old: str, new: str) -> None:
    assert changed(checkout, "galera_backup/rules.py", old, new) == (False, False, False)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("galera_backup/rules.py", "LIMIT = 1", "LIMIT = 2", (True, True, False)),
        ("galera_backup/rules.py", "return a", "return 'a'", (True, True, False)),
        ("workflows/backup.py", "Backup: ...", "Backup: x = 1", (True, True, False)),
        ("workflows/restore.py", "Restore: ...", "Restore: x = 1", (True, False, True)),
        ("activities/lease.py", "Lease: ...", "Lease: x = 1", (True, True, False)),
        ("galera_backup/kube/gateway.py", "Kube: ...", "Kube: x = 1", (True, True, False)),  # by its package
        ("activities/prove.py", "Prove: ...", "Prove: x = 1", (True, False, True)),
        ("starters/cli.py", "import rules", "import rules as r", (True, False, False)),
        # What every operation has:
        ("galera_backup/runner/agent.py", "works", "rests", (True, True, True)),
        ("galera_backup/runner/scripts/start.sh", "true", "false", (True, True, True)),
        ("worker.py", "Backup", "Backup as B", (True, True, True)),
        ("galera_backup/temporal.py", "0", "1", (True, True, True)),
        ("workflows/__init__.py", "Restore", "Restore as R", (True, True, True)),
    ],
)
def test_code_changes_what_can_reach_it(
    checkout: Path, name: str, old: str, new: str, expected: tuple[bool, bool, bool]
) -> None:
    assert changed(checkout, name, old, new) == expected


def test_a_new_file_changes_the_product(checkout: Path) -> None:
    before = _hashes(checkout)
    (checkout / "galera_backup" / "unused.py").write_text("")
    assert source.product(checkout) != before[0]
    assert _hashes(checkout)[1:] == before[1:]


@pytest.mark.parametrize("module", ["workflows.moved", "workflows"])
def test_a_module_that_has_moved_is_told(checkout: Path, module: str) -> None:
    with pytest.raises(LookupError, match=module):
        reach([module], checkout)


@pytest.mark.parametrize("operation", ROOTS)
def test_every_operation_reaches_its_lease_its_activities_and_its_gateways(operation: str) -> None:
    found = {path.as_posix() for path in reached(ROOTS[operation])}
    for module in ROOTS[operation]:
        assert any(path.startswith(module.replace(".", "/")) for path in found)
    assert found >= {"activities/galera.py", "activities/kubernetes.py", "activities/runner.py", "activities/_fence.py"}
    assert any(path.startswith("galera_backup/kube/") for path in found)
    assert any(path.startswith("galera_backup/mysql/") for path in found)
    assert "worker.py" in found
