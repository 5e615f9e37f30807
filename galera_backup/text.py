"""Text for people, made from what the code has: cut to a limit, one line of an error, wrong fields of an input."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pydantic

MESSAGE_LIMIT = 1500
"""Characters of an error's message: Temporal copies it into the history several times."""


def bounded(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """The text, cut in its middle when it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def first_sentence_of(error: BaseException) -> str:
    """An error in one line, for a message that is about something else too."""
    message: Any = getattr(error, "message", None) or str(error)
    return str(message).splitlines()[0] if message else type(error).__name__


def field_errors(error: pydantic.ValidationError) -> list[tuple[str, str]]:
    """Path and problem of each wrong field; the path of the whole input is `input`."""
    return [
        (
            ".".join(str(part) for part in found["loc"]) or "input",
            _EXPECTED.get(found["type"], found["msg"]) + _seen(found),
        )
        for found in error.errors(include_url=False, include_context=False)
    ]


_SECRETS = {"credentials", "check_credentials", "accounts"}
_EXPECTED = {"missing": "required, but missing", "extra_forbidden": "there is no such field"}


def _seen(found: Any) -> str:
    """What stood in a wrong field; not in an unknown one nor below `_SECRETS`: people paste passwords there."""
    location, value = found["loc"], found["input"]
    if not location or _SECRETS & set(location) or found["type"] in {"missing", "extra_forbidden", "value_error"}:
        return ""
    if isinstance(value, timedelta):
        return f", got {value.total_seconds():g} seconds"
    if isinstance(value, str | int | float | bool | None):
        return f", got {bounded(repr(value), 80)}"
    return f", got a {type(value).__name__}"
