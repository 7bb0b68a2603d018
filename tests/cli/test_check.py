"""latentbench-check: what it takes, and its exit code."""

import importlib.util
from pathlib import Path

import pytest

from commands import latentbench, the_one_line
from latentbench.cli import check
from latentbench.contracts import run

WRONG = {
    "regularizer=nonsense": "regularizer=nonsense: there is no such option; choose one of adversarial, cramer_wold",
    "regulariser=kl": "regulariser=kl: give one <group>=<option>; the groups are method, data",
    "prior=normal regularizer=kl": "give one <group>=<option>",
}


@pytest.mark.parametrize("command", WRONG)
def test_what_cannot_be_checked_is_said_in_one_line(command: str) -> None:
    finished = latentbench(*command.split(), program=check.main)
    assert WRONG[command] in the_one_line(finished)
    assert finished.code == 2


def test_an_option_that_cannot_be_imported_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "mine.yaml").write_text("# Mine.\n_target_: nowhere.Mine\n")
    finished = latentbench("--config-dir", str(tmp_path), "prior=mine", program=check.main)
    assert "nowhere.Mine cannot be imported (ModuleNotFoundError" in the_one_line(finished)
    assert finished.code == 2


def test_without_pytest_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    finished = latentbench("prior=normal", program=check.main)
    assert "pip install 'latentbench[check]'" in the_one_line(finished)
    assert finished.code == 2


def test_a_broken_contract_is_exit_code_1_and_what_keeps_them_is_shown_with_what_it_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "passes", lambda group, option: option == "mmd")
    assert latentbench("regularizer=kl", program=check.main).code == 1
    finished = latentbench("regularizer=mmd", program=check.main)
    assert finished.code == 0
    assert "what regularizer=mmd fits" in finished.out
    assert "  A: mmd" in finished.out
