"""Durations as people type and read them."""

from __future__ import annotations

import re
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_SHORT = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_ISO = TypeAdapter(timedelta)


def parse_duration(text: str) -> timedelta:
    """The duration that a person typed: `30m`, `1h30m`, `2d`, `90` or `90s` (seconds), or ISO 8601 `PT30M`.

    Raises ValueError.
    """
    typed = text.strip().lower()
    if typed and (match := _SHORT.fullmatch(typed)):
        parts = zip(_UNITS.values(), match.groups(), strict=True)
        return timedelta(**{unit: int(count) for unit, count in parts if count is not None})
    try:
        return _ISO.validate_python(text.strip())
    except ValidationError:
        raise ValueError("expected a duration such as 30m, 6h, 1h30m, PT30M or a number of seconds") from None


def duration_text(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back, to the second: `6h`, `1h30m`, `0s`."""
    left, parts = int(value.total_seconds()), []
    for letter, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{letter}")
    return "".join(parts) or "0s"
