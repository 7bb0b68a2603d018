"""Tables from W&B equal those from records. No test leaves the loopback interface."""

import dataclasses
import json
from pathlib import Path

import pytest

from commands import latentbench
from example_records import a_record
from latentbench.cli.tables import main
from latentbench.records.record import Record
from latentbench.reporting.tables import load_records, load_wandb_records
from wandb_runs import logged
from wandb_server import WandbServer

FEW = ("metric=[fid]", "sampler=[prior]")  # of which a table of records reads the files and shows nothing

pytestmark = pytest.mark.usefixtures("no_wandb_account")


def some_records() -> list[Record]:
    """A finished run with every key of a record, another seed of it, and one that failed."""
    whole = a_record(
        metrics={"fid/prior": 1 / 3, "psnr/test": 8.0},
        config={"beta": 1.0, "nothing": None, "tiny": 1e-300, "list": [1, 2.0, "x"]},
        standard_errors={"fid/prior": 0.125},
        skipped={"rate/test": "no density"},
        caveats={"psnr/test": "of few"},
        seconds={"fit": 1.5},
        n_parameters=7,
    )
    failed = a_record("ae", metrics={}, status="failed", reason="it diverged")
    return [whole, a_record(seed=1, metrics={"fid/prior": 2.0, "psnr/test": 9.0}), failed]


def test_the_table_from_wandb_is_the_one_from_records(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, record in enumerate(some_records()):
        logged(record, tmp_path / "runs" / str(index)).save(tmp_path / "here" / "s" / record.run_id)
    logged(dataclasses.replace(a_record(), study="another"), tmp_path / "runs" / "another")
    names = ("table.md", "table.csv", "table.tex")
    assert main(["study=s", f"output_dir={tmp_path}/here", *FEW]) == 0
    assert main(["study=s", f"output_dir={tmp_path}/there", "from=wandb", *FEW]) == 0
    assert capsys.readouterr().err == ""
    here, there = ([(tmp_path / place / "s" / name).read_text() for name in names] for place in ("here", "there"))
    assert there == here
    records, unusable = load_wandb_records(None, "latentbench", "s")
    assert sorted(records, key=lambda record: record.run_id) == sorted(some_records(), key=lambda record: record.run_id)
    assert unusable == []


def test_a_sweep_with_a_refused_run_has_the_same_records_in_both_places(server: WandbServer, tmp_path: Path) -> None:
    small = ("backbone.hidden=[16]", "metric=[rate]", "sampler=[prior]", "trainer.max_epochs=1", "study=s")
    swept = latentbench("-m", "posterior=dirac,gaussian", *small, f"output_dir={tmp_path}")
    assert swept.code == 0, swept.err
    logged, _ = load_wandb_records(None, "latentbench", "s")
    assert sorted(record.status for record in logged) == ["finished", "refused"]
    assert load_records(tmp_path / "s") == (logged, [])


def test_of_a_run_logged_again_the_last_finished_one_counts(server: WandbServer, tmp_path: Path) -> None:
    first, second = a_record(metrics={"fid/prior": 1.0}), a_record(metrics={"fid/prior": 2.0})
    for index, record in enumerate((first, second, a_record(status="failed", metrics={}, reason="killed"))):
        logged(record, tmp_path / str(index))
    assert load_wandb_records("someone", "latentbench", "s") == ([second], [])


def test_runs_without_a_record_of_this_version_are_named_and_left_out(server: WandbServer, tmp_path: Path) -> None:
    good = logged(a_record(), tmp_path / "good")
    for index in range(2):
        logged(a_record(seed=1 + index), tmp_path / str(index))
    _, without, older = server.runs.values()
    without["summaryMetrics"] = json.dumps({"fid/prior": 1.0})
    older["summaryMetrics"] = json.dumps({"record": good.to_line().replace('"schema": 4', '"schema": 0')})
    records, unusable = load_wandb_records(None, "latentbench", "s")
    assert records == [good]
    assert len(unusable) == 2
    assert without["name"] in unusable[0]
    assert "has no record" in unusable[0]
    assert older["name"] in unusable[1]
    assert "schema 0, this version reads schema 4: run it again" in unusable[1]


@pytest.mark.parametrize(
    ("refuse", "key", "overrides", "message"),
    [
        (False, "0" * 40, ["logger.project=nowhere"], "nowhere"),
        (False, "0" * 40, ["logger.entity=nobody"], "nobody/latentbench: Could not find project"),
        (False, "0" * 40, ["study=mine"], "no records in the W&B project latentbench"),
        (True, "0" * 40, [], "user is not logged in"),
        (False, None, [], "not logged in to W&B"),
        (False, "0" * 40, ["logger=none"], "logger=wandb"),
        (False, "0" * 40, ["from=paper"], "from=paper: choose records or wandb"),
    ],
)
def test_errors_of_wandb_are_one_line_and_exit_code_2(
    refuse: bool,
    key: str | None,
    overrides: list[str],
    message: str,
    server: WandbServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.refuse = refuse
    if key is None:
        monkeypatch.delenv("WANDB_API_KEY")
    assert main(["study=s", f"output_dir={tmp_path}", "from=wandb", *FEW, *overrides]) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_without_a_network_it_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # and the address of nobody, as `alone` has it
    assert main(["study=s", f"output_dir={tmp_path}", "from=wandb", *FEW]) == 2
    err = capfd.readouterr().err
    assert "127.0.0.1:9" in err
    assert err.count("\n") == 1
