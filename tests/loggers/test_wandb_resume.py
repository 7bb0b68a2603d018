"""An interrupted run, or one that loses its connection, is one W&B run, with every point of its curves once."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from click.testing import CliRunner
from wandb.cli import cli

from commands import latentbench
from latentbench.loggers import weights_and_biases
from latentbench.loggers.base import RunInfo
from latentbench.loggers.weights_and_biases import WeightsAndBiases
from latentbench.records.record import Record, load
from latentbench.running import checkpoints
from wandb_runs import CHOICES, CONFIG, PRESET, RECORD, a_logger, rows, summary, the_folder
from wandb_server import WandbServer

pytestmark = pytest.mark.usefixtures("no_wandb_account", "quick_composition")

SMALL = (
    "backbone.hidden=[16]", "data.batch_size=128", "metric=[rate]", "sampler=[prior]", "trainer.max_epochs=6",
    "study=s",
)  # fmt: skip


def start(run_dir: Path, *, resumed: bool) -> tuple[WeightsAndBiases, Any]:
    logger = a_logger()
    run = RunInfo(run_id="a", study="s", choices=CHOICES, preset=PRESET, config=CONFIG, folder=run_dir, resumed=resumed)
    return logger, logger.start(run)


def part(run_dir: Path, epochs: range, *, resumed: bool, record: Record | None = None) -> None:
    """Log some epochs of a run, and its end if there is a record."""
    logger, curves = start(run_dir, resumed=resumed)
    for epoch in epochs:
        for stage in ("validation", "train"):
            curves.log_metrics({f"{stage}/loss": 10.0 - epoch, "epoch": epoch}, epoch)
    if record:
        logger.finish(record, {})
    logger.close(failed=record is None)


def synced(server: WandbServer, *arguments: str | Path) -> None:
    """`wandb sync`, which may say in its output alone that it has sent nothing."""
    finished = CliRunner().invoke(cli.sync, [*map(str, arguments)])
    assert finished.exit_code == 0, finished.output
    assert server.streamed, finished.output


def points(history: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Stage and epoch of each row of curves."""
    return [(stage, row["epoch"]) for row in history for stage in ("train", "validation") if f"{stage}/loss" in row]


def every_point(epochs: int) -> list[tuple[str, int]]:
    return sorted((stage, epoch) for stage in ("train", "validation") for epoch in range(epochs))


def test_the_parts_of_a_run_that_was_offline_become_one_run(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as offline:
        offline.setenv("WANDB_MODE", "offline")
        part(tmp_path, range(4), resumed=False)
        part(tmp_path, range(2, 6), resumed=True, record=RECORD)  # from a checkpoint of epoch 1
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    synced(server, tmp_path / "wandb")
    assert len(server.runs) == 1
    history = server.streamed["wandb-history.jsonl"]
    assert sorted(points(history)) == every_point(6)
    assert [row["_step"] for row in history] == list(range(len(history)))
    assert server.streamed["wandb-summary.json"][-1]["fid/prior"] == RECORD.metrics["fid/prior"]


def test_the_parts_of_a_run_that_was_online_are_one_run(tmp_path: Path, server: WandbServer) -> None:
    part(tmp_path, range(4), resumed=False)
    part(tmp_path, range(2, 6), resumed=True, record=RECORD)
    assert len(server.runs) == 1
    assert sorted(points(server.streamed["wandb-history.jsonl"])) == every_point(6)


def test_only_a_run_that_begins_anew_is_another_run(tmp_path: Path, server: WandbServer) -> None:
    part(tmp_path, range(2), resumed=False)
    part(tmp_path, range(2), resumed=False, record=RECORD)  # there was no checkpoint
    part(tmp_path, range(2), resumed=True, record=RECORD)  # it had failed after a checkpoint
    assert len(server.runs) == 2
    assert sorted(points(server.streamed["wandb-history.jsonl"])) == sorted(2 * every_point(2))


@pytest.mark.parametrize("left", ["", '{"id": "abc"}', "{"])
def test_a_truncated_resume_state_starts_a_new_run(tmp_path: Path, left: str) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "latentbench.json").write_text(left)
    part(tmp_path, range(2), resumed=True, record=RECORD)
    assert sorted(points([row["item"] for row in rows(the_folder(tmp_path), "history")])) == every_point(2)
    state = json.loads((tmp_path / "wandb" / "latentbench.json").read_text())
    assert state["id"] == rows(the_folder(tmp_path), "run")[0]["run_id"]


def test_the_same_command_continues_the_curves_and_force_starts_a_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*SMALL, "checkpoint_seconds=0", f"output_dir={tmp_path}")
    save = checkpoints.PeriodicCheckpoint.on_train_epoch_end

    def cut(self: Any, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt
        if trainer.current_epoch < 2:
            save(self, trainer, model)

    def folders() -> set[Path]:  # whose names have the second in which they began
        return set(tmp_path.glob("s/*/wandb/offline-run-*"))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.PeriodicCheckpoint, "on_train_epoch_end", cut)
        assert latentbench(*command).code == 130
    (first,) = folders()
    assert latentbench(*command).code == 0
    (second,) = folders() - {first}
    assert latentbench(*command, "force=true").code == 0
    (forced,) = folders() - {first, second}
    (run_dir,) = (tmp_path / "s").iterdir()
    ids = [rows(folder, "run")[0]["run_id"] for folder in (first, second, forced)]
    assert ids[0] == ids[1] != ids[2]
    history = [[row["item"] for row in rows(folder, "history")] for folder in (first, second, forced)]
    assert sorted(points(history[0] + history[1])) == every_point(6)
    assert sorted(points(history[2])) == every_point(6)
    assert {path.name for path in run_dir.iterdir()} >= {"record.json", "wandb"}
    assert json.loads((run_dir / "wandb" / "latentbench.json").read_text())["id"] == ids[2], "for a later measuring"


def test_a_run_whose_server_dies_ends_whole_with_one_warning_and_can_be_synced(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights_and_biases.TIMEOUTS, "finish_timeout", 2)
    save = checkpoints.PeriodicCheckpoint.on_train_epoch_end

    def lose(self: Any, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        save(self, trainer, model)
        if trainer.current_epoch == 2:
            server.dies_after = server.requests

    monkeypatch.setattr(checkpoints.PeriodicCheckpoint, "on_train_epoch_end", lose)
    finished = latentbench(*SMALL, f"output_dir={tmp_path}")
    assert finished.code == 0
    (run_dir,) = (tmp_path / "s").iterdir()
    record = load(run_dir / "record.json")
    assert record.status == "finished"
    warnings = [line for line in finished.err.splitlines() if "W&B" in line]
    assert len(warnings) == 1
    folder = the_folder(run_dir, "run")
    assert f"wandb sync --include-online {folder}" in warnings[0]
    assert json.loads(summary(folder)["summary"]["record"])["metrics"] == record.metrics
    weights_and_biases._end_service()  # as the end of the command does; it could still send when the server is back
    server.dies_after = None
    server.streamed.clear()
    synced(server, "--include-online", folder)
    assert sorted(points(server.streamed["wandb-history.jsonl"])) == every_point(6)
    assert server.streamed["wandb-summary.json"][-1]["rate/test"] == record.metrics["rate/test"]
    assert len(server.runs) == 1
