"""Hashes of the product's source, and of what judges it.

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


def product(root: Path = paths.CHECKOUT) -> str:
    """Hash of the whole product."""
    return digest(root, files(root))


def harness(names: Iterable[str], root: Path = paths.CHECKOUT) -> str:
    """Hash of these files, and of all Python files in these folders: of what judges the product."""
    found = [path for name in names for path in (root / name, *(root / name).rglob("*.py")) if path.is_file()]
    return digest(root, [path.relative_to(root) for path in found])


def files(root: Path) -> list[Path]:
    """All files of the product, relative to the checkout."""
    found = [root / name for name in PRODUCT if (root / name).is_file()]
    for name in PRODUCT:
        found += [path for path in (root / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.relative_to(root) for path in found)


def digest(root: Path, those: Iterable[Path]) -> str:
    """Hash of these files, which are relative to the checkout."""
    found = hashlib.sha256()
    for path in sorted(those):
        found.update(f"{path.as_posix()}\0{_of_file(root / path, (root / path).read_bytes())}\n".encode())
    return found.hexdigest()[:16]


@cache
def _of_file(path: Path, content: bytes) -> str:
    text = _shape(tree(path, content)).encode() if path.suffix == ".py" else content
    return hashlib.sha256(text).hexdigest()


@cache
def tree(path: Path, content: bytes) -> ast.Module:
    """Syntax tree of a Python file."""
    return ast.parse(content, str(path))


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
