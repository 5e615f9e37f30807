"""The error tree."""

from __future__ import annotations

import inspect
import re

import pytest

from galera_backup import errors
from galera_backup.errors import GaleraBackupError, InternalError, by_name
from galera_backup.text import MESSAGE_LIMIT, bounded

TREE = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, GaleraBackupError)]
RETRYABLE = {
    "ServiceUnavailable",
    "KubernetesUnavailable",
    "QuotaExceeded",
    "DatabaseUnavailable",
    "NotYet",
    "TemporalUnavailable",
}


@pytest.mark.parametrize("error", TREE)
def test_class_decides_type_and_retry(error: type[GaleraBackupError]) -> None:
    made = error("what happened", {"some": "detail"})
    assert made.type == error.__name__
    assert made.message == "what happened"
    assert made.details == ({"some": "detail"},)
    assert made.non_retryable == (error.__name__ not in RETRYABLE)
    assert by_name(error.__name__) is error
    assert error.__doc__


@pytest.mark.parametrize("name", ["", "ValueError", "bounded", "Any", "ApplicationError"])
def test_unknown_name_is_a_bug(name: str) -> None:
    assert by_name(name) is InternalError


def test_messages_are_bounded_in_the_middle() -> None:
    text = "begin " + "x" * 10_000 + " end"
    message = InternalError(text).message
    assert len(message) <= MESSAGE_LIMIT
    assert message.startswith("begin ")
    assert message.endswith(" end")
    assert " ... " in message
    assert bounded("x" * 100, 100) == "x" * 100
    assert len(bounded("x" * 101, 100)) <= 100


def test_the_drawn_tree_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = errors.__doc__.partition("    GaleraBackupError")[2].partition("`*`")[0]
    classes = {each.__name__: each for each in TREE}
    words = dict(re.findall(r"\b([A-Z]\w+)(\*?)", drawn))
    assert set(words) == set(classes) - {"GaleraBackupError"}
    assert {name for name, star in words.items() if star} == RETRYABLE
    family = GaleraBackupError
    for name in re.findall(r"(?:├── |└── |, |  )([A-Z]\w+)", drawn):
        if classes[name].__base__ is GaleraBackupError:
            family = classes[name]
        assert classes[name].__base__ in (GaleraBackupError, family), name
