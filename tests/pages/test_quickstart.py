"""The notebook runs from top to bottom, and holds no output of the machine that it was written on."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest

from commands import latentbench
from tiny_runs import digits_are_few

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"

pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="this test needs a checkout")


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(command: list[str], *, check: bool) -> None:
        assert check
        assert command[1:3] == ["-m", "latentbench"]
        finished = latentbench(*command[3:], "trainer.max_epochs=1", "backbone.hidden=[8]")
        assert finished.code == 0, finished.err
        commands.append(finished.err)

    commands: list[str] = []
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    names: dict[str, Any] = {}
    with digits_are_few():
        for cell in code_cells():
            exec("".join(cell["source"]), names)
            names["subprocess"] = SimpleNamespace(run=in_this_process)
    assert len(plt.get_fignums()) == 8
    plt.close("all")
    assert [err.count("is trained already; measuring") for err in commands] == [0, 2]
    assert sorted(names["table"]["method"]) == ["ae", "vae"]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells())
