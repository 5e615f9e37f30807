"""What `--help` and `--version` say."""

from __future__ import annotations

import pytest

from starters import cli


@pytest.mark.parametrize(
    "command",
    [
        ["backup"],
        ["restore"],
        ["list"],
        ["janitor"],
        ["status"],
        ["search-attributes"],
        *(["schedule", each] for each in ("set", "show", "pause", "resume", "trigger", "delete")),
    ],
    ids=" ".join,
)
def test_help_has_units_defaults_and_exit_codes(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("TERM", "dumb")
    assert cli.run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit codes: 0 success; 1 the operation failed; 2 wrong usage" in text
    options = [line for line in text.splitlines() if "--" in line]
    without_default = {"--help", "--json", "--no-wait"}
    for line in options:
        if not any(flag in line for flag in without_default):
            assert "default" in line, line
        if "DURATION" in line:
            assert "30m, 6h, PT30M or seconds" in line


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"
