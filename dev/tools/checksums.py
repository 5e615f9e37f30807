"""A checksum of every table of the users, to compare replicas with each other and with an earlier time.

Not CHECKSUM TABLE: MariaDB 10.11 leaves generated columns out of the row that it reads, and counts what an earlier
statement left in their place, so that equal rows give different sums.
"""

from __future__ import annotations

from dev.stack import cluster, settings

_SYSTEM = "('information_schema', 'performance_schema', 'mysql', 'sys')"
_COLUMNS = f"""
SELECT CONCAT('`', c.table_schema, '`.`', c.table_name, '`'), c.column_name
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND c.table_schema NOT IN {_SYSTEM}
ORDER BY 1, c.ordinal_position
"""
_SECONDS = 600

Checksums = dict[str, str]


def of(pod: str, namespace: str = settings.NAMESPACE) -> Checksums:
    """Rows and sum of the rows' CRC32 over all columns, by table."""
    columns: dict[str, list[str]] = {}
    for line in cluster.sql(_COLUMNS, pod, namespace=namespace).splitlines():
        table, column = line.split("\t")
        columns.setdefault(table, []).append(f"IFNULL(`{column}`, 0x00)")
    queries = [
        f"SELECT '{table}', COUNT(*), IFNULL(SUM(CRC32(CONCAT_WS(0x1f, {', '.join(names)}))), 0) FROM {table};"
        for table, names in columns.items()
    ]
    text = cluster.sql("\n".join(queries), pod, timeout=_SECONDS, namespace=namespace)
    rows = (line.split("\t", 1) for line in text.splitlines())
    return {table: numbers.replace("\t", " rows, ") for table, numbers in rows}


def different(now: Checksums, before: Checksums) -> list[str]:
    """Tables that are gone, new, or not the same."""
    return sorted(table for table in now.keys() | before.keys() if now.get(table) != before.get(table))
