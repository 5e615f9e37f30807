"""`galera-backup approve`, `reject` and `decide`: what a person says to a restore that waits."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from galera_backup.errors import InvalidInput
from galera_backup.models.plan import Answer, Decision
from starters._grouped import grouped
from starters._options import AsJson, TemporalOptions
from starters._screen import Screen, conduct
from starters._session import Session

Run = Annotated[str, typer.Argument(metavar="WORKFLOW_ID", help="Workflow id of the restore that waits.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the record.")]
Who = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who says so.", show_default="the user of this process")
]
WhatNext = Annotated[
    str,
    typer.Argument(
        metavar="retry|rollback|keep",
        help="retry: go on from the step that failed; rollback: the old data goes back; keep: leave the restored "
        "cluster as it is, where it has formed.",
    ),
]


@grouped
def approve(*, run: Run, why: Why, temporal: TemporalOptions, who: Who = None, as_json: AsJson = False) -> None:
    """Let a restore go on that requires approval."""
    _send("approve", run, Answer, temporal=temporal, as_json=as_json, who=who, why=why)


@grouped
def reject(*, run: Run, why: Why, temporal: TemporalOptions, who: Who = None, as_json: AsJson = False) -> None:
    """End a restore that requires approval; nothing was changed."""
    _send("reject", run, Answer, temporal=temporal, as_json=as_json, who=who, why=why)


@grouped
def decide(
    *, run: Run, choice: WhatNext, why: Why, temporal: TemporalOptions, who: Who = None, as_json: AsJson = False
) -> None:
    """Say how a staged restore goes on that failed and asks."""
    _send("decide", run, Decision, temporal=temporal, as_json=as_json, who=who, why=why, choice=choice)


def _send(
    update: str, run: str, model: type[BaseModel], *, temporal: TemporalOptions, as_json: bool, **fields: Any
) -> None:
    async def work(screen: Screen) -> None:
        try:
            answer = model.model_validate(fields | {"who": fields["who"] or getpass.getuser()})
        except ValidationError as error:
            wrong = "; ".join(f"{each['loc'][0]}: {each['msg']}, got {each['input']!r}" for each in error.errors())
            raise InvalidInput(f"{update}: {wrong}") from None
        session = await Session.open(screen, temporal)
        await session.client.get_workflow_handle(run).execute_update(update, answer)
        screen.answer(answer, f"{run} has heard it: {update}")

    conduct(as_json, work)
