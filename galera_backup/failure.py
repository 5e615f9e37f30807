"""How the agent fails: the name of a class of `galera_backup.errors` and a sentence for an operator.

`galera_backup.errors` itself needs the Temporal SDK, which the agent's image need not have.
"""

from __future__ import annotations

from galera_backup.models.runner import RunnerError, RunnerErrorType
from galera_backup.text import bounded


class AgentError(Exception):
    """Ends the agent's work; becomes the `error` of its result."""

    def __init__(self, type: RunnerErrorType, message: str) -> None:
        super().__init__(f"{type}: {message}")
        self.error = RunnerError(type=type, message=bounded(message))
