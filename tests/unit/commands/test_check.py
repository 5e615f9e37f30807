"""`galera-backup check`."""

from __future__ import annotations

import pytest

from galera_backup.models.check import CheckResult
from tests.unit.commands.cli import Cli


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 0),
        (("--strategy", "rolling"), 0),
        (("--strategy", "in_place"), 1),
        (("--strategy", "in_place", "--for", "backup"), 0),
    ],
)
async def test_whose_pods_are_judged(run: Cli, options: tuple[str, ...], code: int) -> None:
    strategy = options[1] if options else "staged"
    seen, out = await run("check", "good/db", *options)
    assert seen == code
    assert f"strategy {strategy}: expected another one" in " ".join(out.split())
    assert "a bug" not in run.err
    _, document = await run.json("check", "good/db", *options)
    assert CheckResult.model_validate(document).findings[0].about == f"strategy {strategy}"


async def test_a_strategy_that_is_none(run: Cli) -> None:
    code, document = await run.json("check", "good/db", "--strategy", "sideways")
    assert code == 2
    assert "--strategy: " in document["error"]["message"]
