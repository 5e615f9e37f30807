"""The worker's log: one line a record, for people or as JSON, with the fields that the caller gave."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from temporalio import activity, workflow

from galera_backup.settings import WorkerSettings


def set_up_logging(settings: WorkerSettings) -> None:
    """Records of our code on stderr, one line each; of libraries only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else HumanFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("worker", "workflows", "activities", "galera_backup", "temporalio.workflow", "temporalio.activity"):
        logging.getLogger(name).setLevel(settings.log_level)
    logging.captureWarnings(True)
    # The formatters show these as fields, not inside of the message.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False


_STANDARD_FIELDS = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "temporal_log"}


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra`; the SDK's dictionaries about workflow and activity are spread out."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name in {"temporal_workflow", "temporal_activity"}:
            found |= value
        elif name not in _STANDARD_FIELDS and not name.startswith("__"):
            found[name] = value
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the extra fields, and a traceback as text."""

    def format(self, record: logging.LogRecord) -> str:
        line = fields(record) | {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class HumanFormatter(logging.Formatter):
    """Time, level and message, then the fields a person looks for; a traceback follows on lines of its own."""

    _LEFT_OUT = frozenset({"namespace", "run_id", "task_queue", "workflow_run_id", "workflow_type", "activity_id"})

    def format(self, record: logging.LogRecord) -> str:
        shown = {name: value for name, value in fields(record).items() if name not in self._LEFT_OUT}
        if shown.get("attempt") == 1:
            del shown["attempt"]
        extra = "".join(f" {name}={value}" for name, value in shown.items())
        line = f"{_time(record):%Y-%m-%d %H:%M:%S}Z {record.levelname:<7} {record.getMessage()}{extra}"
        line = line.replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
