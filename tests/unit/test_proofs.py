"""The records of the kill matrix and of chaos, and the stamps that a release needs."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dev.tools import proofs, release_check, shapes
from dev.tools.proofs import Proof

CASES = {"a": "source-1", "b": "source-1", "c": "source-2"}


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    for name in ("workflows/backup.py", "galera_backup/rules.py", "tests/matrix/table.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return Proof("matrix", "dev/test --matrix", ("tests/matrix",), True, tmp_path / "proofs", tmp_path)


def pass_all(proof: Proof) -> None:
    for case, scope in CASES.items():
        proof.keep(case, scope, passed=True)


def test_nothing_has_been_run(proof: Proof) -> None:
    assert proof.missing(CASES) == ["a", "b", "c"]
    assert proof.finish(CASES) is None
    assert "no stamp. Run dev/test --matrix" in str(proof.wrong())


def test_a_later_run_goes_on(proof: Proof) -> None:
    proof.keep("b", "source-1", passed=True)
    assert proof.missing(CASES) == ["a", "c"]
    proof.keep("a", "source-1", passed=False)
    assert proof.missing(CASES) == ["a", "c"]
    assert proof.finish(CASES) is None
    assert not proof.stamp.exists()
    proof.keep("a", "source-1", passed=True)
    proof.keep("c", "source-2", passed=True)
    assert proof.missing(CASES) == []
    stamp = proof.finish(CASES)
    assert stamp is not None
    assert stamp.cases == 3
    assert proof.wrong() is None


def test_a_later_failure_counts(proof: Proof) -> None:
    pass_all(proof)
    proof.keep("b", "source-1", passed=False)
    assert proof.missing(CASES) == ["b"]


def test_a_change_invalidates_what_can_reach_it(proof: Proof) -> None:
    pass_all(proof)
    assert proof.missing(CASES | {"c": "source-3"}) == ["c"]
    assert proof.missing(CASES | {"a": "source-3", "b": "source-3"}) == ["a", "b"]


def test_records_are_sorted_and_of_cases_that_are_there(proof: Proof) -> None:
    for case in ("c", "b", "gone", "a", "b"):
        proof.keep(case, "source-1", passed=True, seen={"seconds": 1.5})
    proof.finish(CASES)
    records = [json.loads(line) for line in proof.records.read_text().splitlines()]
    assert [record["case"] for record in records] == ["a", "b", "c"]
    assert [record["seconds"] for record in records] == [1.5] * 3


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("workflows/backup.py", "the product"),
        ("tests/matrix/table.py", "its tests"),
        ("galera_backup/new.py", "the product"),
    ],
)
def test_a_stamp_is_for_one_source(proof: Proof, name: str, what: str) -> None:
    pass_all(proof)
    proof.finish(CASES)
    assert proof.wrong() is None
    (proof.checkout / name).write_text("x = 1  # nothing but words\n" if "new" not in name else "y = 2\n")
    if "new" not in name:
        assert proof.wrong() is None
        (proof.checkout / name).write_text("x = 2\n")
    assert f"is for {what} at" in str(proof.wrong())
    assert "Run dev/test --matrix" in str(proof.wrong())


@pytest.mark.parametrize(("judged_again", "missing"), [(True, ["a", "b", "c"]), (False, [])])
def test_another_harness_judges(proof: Proof, judged_again: bool, missing: list[str]) -> None:
    proof = replace(proof, judged_again=judged_again)
    pass_all(proof)
    (proof.checkout / "tests/matrix/table.py").write_text("x = 2\n")
    assert proof.missing(CASES) == missing


def test_an_old_stamp_stays_when_something_is_missing(proof: Proof) -> None:
    pass_all(proof)
    proof.finish(CASES)
    (proof.checkout / "workflows" / "backup.py").write_text("x = 2\n")
    assert proof.finish(CASES | {"a": "source-3"}) is None
    assert proof.wrong() is not None


def test_release_check(proof: Proof, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    other = Proof("chaos", "dev/chaos --all", ("tests/matrix/table.py",), False, proof.folder, proof.checkout)
    monkeypatch.setattr(proofs, "ALL", (proof, other))
    monkeypatch.setattr("sys.argv", ["dev/release-check"])
    pass_all(proof)
    proof.finish(CASES)
    assert release_check.main() == 1
    assert "chaos: no stamp. Run dev/chaos --all" in capsys.readouterr().err
    pass_all(other)
    other.finish(CASES)
    assert release_check.main() == 0
    assert "of the present source" in capsys.readouterr().out


def test_the_cases_of_dev_shapes_are_tests() -> None:
    found = shapes._collected([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], os.environ)
    assert "tests.integration.test_shapes.test_what_was_lost_is_back[slow-]" in found
    assert {shapes._node(each).partition("::")[0] for each in found} == {
        each for each in proofs.SHAPES.judges if "test_" in each
    }
