"""Runner pods by what they are for."""

from __future__ import annotations

import re


def is_pod(name: str, part: str) -> bool:
    """Whether a runner pod of this name is that part of its operation, in any attempt; `part` is a pattern."""
    return re.search(rf"-[0-9a-f]{{8}}-{part}(-\d+)?$", name) is not None
