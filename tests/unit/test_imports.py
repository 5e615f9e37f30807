"""Arrows go one way: worker, starters -> workflows -> activities -> galera_backup."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from galera_backup.storage import layout

ROOT = Path(__file__).parents[2]
HOUSE = {"galera_backup", "activities", "workflows", "starters", "worker", "dev", "tests"}
MAY_IMPORT = {
    "galera_backup": {"galera_backup"},
    "activities": {"activities", "galera_backup"},
    "workflows": {"workflows", "activities", "galera_backup"},
    "starters": {"starters", "workflows", "galera_backup"},
    "worker.py": {"workflows", "activities", "galera_backup"},
}
MAY_IMPORT_TOO = {
    "starters/cli.py": {"worker"},  # the command `worker`
}
OF_A_WORKFLOW = {
    "__future__",
    "asyncio",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "functools",
    "itertools",
    "sys",
    "temporalio.common",
    "temporalio.exceptions",
    "temporalio.workflow",
    "typing",
}
"""What a workflow may import from outside: nothing that asks the machine, the network or chance."""
NOT_DETERMINISTIC = {
    *("asyncio.as_completed", "asyncio.to_thread", "asyncio.wait", "date.today"),
    *("datetime.now", "datetime.today", "datetime.utcnow", "input", "open"),
}
"""What of that a workflow must not call."""
AGENT = {
    "zstandard",
    "pydantic",
    "galera_backup.failure",
    "galera_backup.models",
    "galera_backup.runner",
    "galera_backup.storage",
    "galera_backup.text",
    "galera_backup.version",
}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{each.name}" for each in node.names)


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py")) if not package.endswith(".py") else [ROOT / package]
    assert found
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_direction(package: str) -> None:
    for path in files(package):
        allowed = MAY_IMPORT[package] | MAY_IMPORT_TOO.get(path.relative_to(ROOT).as_posix(), set())
        ours = {name.partition(".")[0] for name in imported(path)} & HOUSE
        assert ours <= allowed, f"{path.relative_to(ROOT)} imports {ours - allowed}"


def test_the_agent_needs_little() -> None:
    for path in [
        path
        for room in ("runner", "storage", "failure.py", "text.py", "version.py")
        for path in files(f"galera_backup/{room}")
    ]:
        for name in imported(path):
            if name.partition(".")[0] in sys.stdlib_module_names:
                continue
            assert any(name == each or name.startswith(f"{each}.") for each in AGENT), f"{path} imports {name}"


def test_workflows_are_deterministic() -> None:
    """As the sandbox sees to it in production, on the paths that ran; most tests of workflows run without it."""
    for path in files("workflows"):
        outside = {name for name in imported(path) if name.partition(".")[0] not in HOUSE}
        found = {name for name in outside if not any(f"{name}.".startswith(f"{each}.") for each in OF_A_WORKFLOW)}
        assert not found, f"{path} imports {found}"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in NOT_DETERMINISTIC, f"{path}:{node.lineno} calls {called}"


def test_names_on_storage_are_in_one_module() -> None:
    """A string that names a file of a backup belongs in `storage.layout`; docstrings may tell of it."""
    names = {layout.STREAM, layout.PART, layout.MANIFEST, layout.RUNNER_LOG, layout.PREPARED_MARKER, ".restore"}
    for path in [path for package in MAY_IMPORT for path in files(package)]:
        if path == ROOT / "galera_backup/storage/layout.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path}:{node.lineno} names {node.value!r}"


def test_the_agent_loads_little() -> None:
    """What it imports by way of others counts as well: its image has nothing else."""
    program = "import sys; import galera_backup.runner.agent; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] in HOUSE}
    assert "galera_backup.storage.files" in loaded
    for name in loaded - {"galera_backup"}:
        assert any(name == each or name.startswith(f"{each}.") for each in AGENT), name


def test_a_run_loads_only_the_modules_of_its_workflow() -> None:
    """The sandbox of each run imports the package; what that imports, every run would load again."""
    assert list(imported(ROOT / "workflows" / "__init__.py")) == []
