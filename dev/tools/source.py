"""Hashes of the product's source: of all of it, and of the part that an operation can reach.

A hash is made of syntax trees without docstrings, so comments, docstrings and formatting do not change it. Files that
are no Python (scripts, SQL) count by their bytes.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dev.stack import paths

PRODUCT = ("galera_backup", "workflows", "activities", "starters", "worker.py")
_ALWAYS = ("worker", "galera_backup.runner.__main__")
"""Every operation runs in a worker and starts runner pods; neither is an import of a workflow."""
_WIRING = ("workflows", "workflows.registry", "activities")
"""They name every workflow and activity: their own text counts for all operations, what they import does not."""


def product(root: Path = paths.CHECKOUT) -> str:
    """Hash of the whole product."""
    return _hash(root, _files(root))


def reach(modules: Iterable[str], root: Path = paths.CHECKOUT) -> str:
    """Hash of what these modules can reach by imports, with what counts for every operation."""
    return _hash(root, reached(modules, root))


def reached(modules: Iterable[str], root: Path = paths.CHECKOUT) -> list[Path]:
    """The files that `reach` hashes, relative to the checkout."""
    found = {path for path in _files(root) if path.suffix != ".py"}
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


def harness(folders: Iterable[str], root: Path = paths.CHECKOUT) -> str:
    """Hash of all Python files in these folders: of what judges the product."""
    return _hash(root, [path.relative_to(root) for name in folders for path in (root / name).rglob("*.py")])


def _files(root: Path) -> list[Path]:
    """All of the product, relative to the checkout."""
    found = [root / name for name in PRODUCT if (root / name).is_file()]
    for name in PRODUCT:
        found += [path for path in (root / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.relative_to(root) for path in found)


def _path(root: Path, module: str) -> Path | None:
    """File of a module of the product, relative to the checkout; None for whatever else."""
    parts = module.split(".")
    if parts[0] not in {name.removesuffix(".py") for name in PRODUCT}:
        return None
    for path in (Path(*parts).with_suffix(".py"), Path(*parts) / "__init__.py"):
        if (root / path).is_file():
            return path
    return None


def _with_packages(module: str) -> list[str]:
    """A module and the packages around it: an import runs them all."""
    parts = module.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _hash(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.as_posix()}\0{_of_file(root / path, (root / path).read_bytes())}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _of_file(path: Path, content: bytes) -> str:
    text = _shape(_tree(path, content)).encode() if path.suffix == ".py" else content
    return hashlib.sha256(text).hexdigest()


@cache
def _tree(path: Path, content: bytes) -> ast.Module:
    return ast.parse(content, str(path))


@cache
def _imported(path: Path, content: bytes) -> tuple[str, ...]:
    """Names that a file imports, wherever in it: modules, and what may be a module of a package."""
    found: list[str] = []
    for node in ast.walk(_tree(path, content)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return tuple(found)


def _shape(node: object) -> str:
    """A syntax tree as text, the same in all versions of Python: without positions, empty fields and docstrings."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({', '.join(f'{name}={_shape(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(_shape(each) for each in node if not _is_docstring(each))}]"
    return repr(node)


def _is_docstring(node: object) -> bool:
    """A statement that is only a string, as below a definition or a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
