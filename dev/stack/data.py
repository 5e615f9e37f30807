"""The sample data set: loaded once, and again when another size is asked for."""

from __future__ import annotations

import re
import time
from functools import partial
from string import Template

from dev.stack import cluster, paths, settings
from dev.stack.console import StackError, say

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_UNIT = 1 << 20  # rows.sql writes about this much for each unit
_BATCH = 25  # units in one call: bounds the size of a transaction, which each replica applies as a whole
_SECONDS = 1800


def parse_size(text: str) -> int:
    """Bytes of a size such as 200M or 1G."""
    found = re.fullmatch(r"(\d+)([KMG])i?B?", text.strip(), re.IGNORECASE)
    if not found:
        raise StackError("data", f"size {text!r} is not like 200M or 1G")
    return int(found[1]) * _UNITS[found[2].upper()]


def ensure(size: str | None) -> None:
    """Load the data if there is none, or if a size is given and the loaded data has another."""
    loaded = loaded_units()
    if loaded is not None and size is None:
        return
    units = max(1, parse_size(size or settings.DATA_SIZE) // _UNIT)
    if loaded != units:
        load(units)


def loaded_units() -> int | None:
    """How many units are completely loaded, by the marker table."""
    if not cluster.sql("SELECT 1 FROM information_schema.tables WHERE table_schema='dev_data' AND table_name='loaded'"):
        return None
    return int(cluster.sql("SELECT units FROM dev_data.loaded").strip() or 0) or None


def load(units: int, namespace: str = settings.NAMESPACE, pod: str = f"{settings.STATEFULSET}-0") -> None:
    """Replace all schemas; the marker is written last."""
    sql = partial(cluster.sql, pod=pod, namespace=namespace)
    say("data", f"loading about {units} MiB")
    started = time.monotonic()
    rows = Template((paths.DEV / "data" / "rows.sql").read_text())
    sql("CREATE DATABASE IF NOT EXISTS dev_data; DROP TABLE IF EXISTS dev_data.loaded;")
    sql((paths.DEV / "data" / "schema.sql").read_text())
    for first in range(1, units + 1, _BATCH):
        sql(rows.substitute(first=first, last=min(first + _BATCH - 1, units)), timeout=_SECONDS)
    sql(f"CREATE TABLE dev_data.loaded (units INT NOT NULL PRIMARY KEY);INSERT INTO dev_data.loaded VALUES ({units});")
    say("data", f"loaded in {time.monotonic() - started:.0f} s")
