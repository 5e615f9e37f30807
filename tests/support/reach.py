"""The part of the product's source that an operation can reach by imports, and its hash."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dev.stack import paths
from dev.tools import source

_ALWAYS = ("worker", "galera_backup.runner.__main__")
"""Every operation runs in a worker and starts runner pods; neither is an import of a workflow."""
_WIRING = ("workflows", "workflows.registry", "activities")
"""They name every workflow and activity: their own text counts for all operations, what they import does not."""


def reach(modules: Iterable[str], root: Path = paths.CHECKOUT) -> str:
    """Hash of what these modules can reach by imports, with what counts for every operation."""
    return source.digest(root, reached(modules, root))


def reached(modules: Iterable[str], root: Path = paths.CHECKOUT) -> list[Path]:
    """The files that `reach` hashes, relative to the checkout."""
    found = {path for path in source.files(root) if path.suffix != ".py"}
    found |= {path for path in (_path(root, name) for name in _WIRING) if path is not None}
    todo = []
    for name in (*modules, *_ALWAYS):
        path = _path(root, name)
        if path is None or path.name == "__init__.py":
            raise LookupError(f"expected a module {name!r} in {root}, saw {path}: name the module, not its package")
        todo.append(path)
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        names = _imported(root / path, (root / path).read_bytes())
        parts = {part for name in names for part in _with_packages(name)}
        todo += [each for each in (_path(root, part) for part in parts) if each is not None]
    return sorted(found)


def _path(root: Path, module: str) -> Path | None:
    """File of a module of the product, relative to the checkout; None for whatever else."""
    parts = module.split(".")
    if parts[0] not in {name.removesuffix(".py") for name in source.PRODUCT}:
        return None
    for path in (Path(*parts).with_suffix(".py"), Path(*parts) / "__init__.py"):
        if (root / path).is_file():
            return path
    return None


def _with_packages(module: str) -> list[str]:
    """A module and the packages around it: an import runs them all."""
    parts = module.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


@cache
def _imported(path: Path, content: bytes) -> tuple[str, ...]:
    """Names that a file imports, wherever in it: modules, and what may be a module of a package."""
    found: list[str] = []
    for node in ast.walk(source.tree(path, content)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return tuple(found)
