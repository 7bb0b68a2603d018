"""The W&B logger, whose output is read back from the run's own file. No test leaves the loopback interface."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import wandb
from PIL import Image
from wandb.sdk.lib.service.service_process import ServiceProcess

from latentbench.loggers import weights_and_biases
from latentbench.loggers.base import RunInfo
from latentbench.loggers.weights_and_biases import WeightsAndBiases
from latentbench.records import wandb_keys
from latentbench.records.record import parse
from wandb_runs import CHOICES, CONFIG, NAME, PRESET, RECORD, VARIANT, a_logger, rows, summary, the_folder
from wandb_server import WandbServer

pytestmark = pytest.mark.usefixtures("no_wandb_account")


def start(logger: WeightsAndBiases, run_dir: Path, run_id: str = RECORD.run_id) -> Any:
    run = RunInfo(run_id=run_id, study=RECORD.study, choices=CHOICES, preset=PRESET, config=CONFIG, folder=run_dir)
    return logger.start(run)


def whole_run(run_dir: Path, images: dict[str, np.ndarray] | None = None, run_id: str = RECORD.run_id) -> None:
    logger = a_logger()
    curves = start(logger, run_dir, run_id)
    for epoch in range(3):
        curves.log_metrics({"train/loss": 3.0 - epoch, "validation/loss": 4.0 - epoch, "epoch": epoch}, epoch)
    logger.finish(RECORD, images or {})
    logger.close(failed=False)


class Tiny(pl.LightningModule):
    """Logs as our models do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = (self.weight * batch).mean()
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("validation/loss", (self.weight * batch).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_an_offline_run_says_what_the_record_says(tmp_path: Path) -> None:
    whole_run(tmp_path)
    read = summary(the_folder(tmp_path))
    assert {key: read["summary"][key] for key in RECORD.metrics} == RECORD.metrics
    assert read["summary"]["status"] == "finished"
    assert read["summary"]["skipped/nll/test"] == "no likelihood"
    assert parse(read["summary"]["record"], "W&B") == RECORD
    assert read["config"] == RECORD.config | {
        "choices": CHOICES, "preset": PRESET, "run_id": RECORD.run_id, "variant": VARIANT,
    }  # fmt: skip
    assert read["tags"] == ["method=vae", "data=digits", "posterior=gaussian", "prior=normal"]
    assert (read["name"], read["project"], read["state"]) == (NAME, "latentbench", "finished")
    (run,) = rows(the_folder(tmp_path), "run")
    assert (run["run_group"], run["job_type"]) == (RECORD.study, "vae")


def test_the_direction_of_each_metric_is_in_the_file(tmp_path: Path) -> None:
    whole_run(tmp_path)
    directions = {row["name"]: list(row["summary"]) for row in rows(the_folder(tmp_path), "metric") if "summary" in row}
    assert directions == {
        "fid/prior": ["min"],
        "fid/prior@random@validation": ["min"],
        "fid/gmm": ["min"],
        "sharpness/prior": ["max"],
        "rate/test": ["last"],
        "unheard_of": ["last"],
    }


def test_the_curves_of_a_fit_have_the_epoch_as_their_axis(tmp_path: Path) -> None:
    logger = a_logger()
    trainer = pl.Trainer(
        logger=start(logger, tmp_path),
        max_epochs=3,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    batches = torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer.fit(Tiny(), batches, batches)
    logger.close(failed=False)
    history = [row["item"] for row in rows(the_folder(tmp_path), "history")]
    for key in ("train/loss", "validation/loss"):
        assert [row["epoch"] for row in history if key in row] == [0, 1, 2]
    axes = {row["glob_name"]: row["step_metric"] for row in rows(the_folder(tmp_path), "metric") if "glob_name" in row}
    assert axes == {"train/*": "epoch", "validation/*": "epoch"}


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_set_becomes_an_image_grid_with_a_caption(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, channels, 5, 6), dtype=np.uint8)
    codes = {"codes": np.zeros((3, 2), np.float32), "labels": np.arange(3)}
    whole_run(tmp_path, {"prior": images, "original": images[:3], "reconstruction": images[:3], "real": images} | codes)
    shown = summary(the_folder(tmp_path))["summary"]
    captions = {key: value["caption"] for key, value in shown.items() if key.startswith("images/")}
    assert captions == {
        "images/prior": "samples: decoded latents, drawn by prior",
        "images/reconstruction": "originals, each above its reconstruction",
        "images/real": "real images, which the model was not trained on",
        "images/codes": "latents of 3 test images, coloured by label",
    }
    file = the_folder(tmp_path) / "files" / shown["images/prior"]["path"]
    picture = np.asarray(Image.open(file))
    assert picture.shape == (2 * 6 - 1, 8 * 7 - 1, channels + 1)
    np.testing.assert_array_equal(picture[:5, :6, :-1], images[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(picture[6:, 7:13, :-1], images[9].transpose(1, 2, 0))
    assert (picture[6:, 14:, -1] == 0).all()


def test_two_runs_of_one_process_are_two_runs(tmp_path: Path) -> None:
    whole_run(tmp_path / "a", run_id="a")
    whole_run(tmp_path / "b", run_id="b")
    assert len({rows(the_folder(tmp_path / name), "run")[0]["run_id"] for name in ("a", "b")}) == 2
    for name in ("a", "b"):
        folder = the_folder(tmp_path / name)
        assert summary(folder)["config"]["run_id"] == name
        assert len([row for row in rows(folder, "history") if "train/loss" in row["item"]]) == 3


def test_a_run_left_open_is_not_continued(tmp_path: Path) -> None:
    start(a_logger(), tmp_path / "left", "left")
    whole_run(tmp_path / "next", run_id="next")
    assert summary(the_folder(tmp_path / "next"))["config"]["run_id"] == "next"
    assert rows(the_folder(tmp_path / "left"), "history") == []


def test_a_process_of_wandb_that_had_to_be_killed_does_not_end_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = ServiceProcess.join
    monkeypatch.setattr(ServiceProcess, "join", lambda self: join(self) or -9)
    whole_run(tmp_path)
    weights_and_biases._end_service()  # wandb.teardown() raises SystemExit(-9)


def test_a_failed_run_is_marked_as_failed_and_ends_once(tmp_path: Path) -> None:
    logger = a_logger()
    start(logger, tmp_path)
    logger.close(failed=True)
    logger.close(failed=False)
    assert wandb.run is None
    assert summary(the_folder(tmp_path))["exit_code"] == 1


def test_closing_or_finishing_without_a_start_does_nothing() -> None:
    logger = a_logger()
    logger.finish(RECORD, {})
    logger.close(failed=True)


def test_an_exception_inside_start_leaves_no_run_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(wandb.Run, "define_metric", broken)
    assert start(a_logger(), tmp_path) is None
    assert wandb.run is None
    assert "no space left" in caplog.text


def test_a_service_that_does_not_start_causes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise wandb.Error("the service does not start")

    monkeypatch.setattr(wandb, "setup", broken)
    assert start(a_logger(), tmp_path) is None
    assert "the service does not start" in caplog.text


def test_disabled_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = a_logger()
    assert start(logger, tmp_path) is None
    logger.finish(RECORD, {})
    logger.close(failed=False)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole_run(tmp_path)
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("mode", [None, "online"])
def test_an_unreachable_server_means_offline_with_one_warning_and_soon(
    tmp_path: Path, mode: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    begin = time.monotonic()
    whole_run(tmp_path / "a")
    whole_run(tmp_path / "b")
    assert time.monotonic() - begin < 15
    assert summary(the_folder(tmp_path / "a"))["state"] == "finished"
    assert [record.levelno for record in caplog.records if record.name == weights_and_biases.__name__] == [
        logging.WARNING
    ]
    assert "offline" in caplog.text
    assert "127.0.0.1:9" in caplog.text


@pytest.mark.parametrize("key", ["0" * 40, "malformed"])
def test_a_refused_key_means_offline(
    tmp_path: Path,
    key: str,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.refuse = True
    monkeypatch.setenv("WANDB_API_KEY", key)
    whole_run(tmp_path)
    assert summary(the_folder(tmp_path))["state"] == "finished"
    assert "offline" in caplog.text


def test_online_without_a_key_does_not_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    whole_run(tmp_path)
    assert summary(the_folder(tmp_path))["state"] == "finished"


def test_wandb_mode_offline_overrides_a_key(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    whole_run(tmp_path)
    assert summary(the_folder(tmp_path))["state"] == "finished"
    assert server.requests == 0


def test_a_server_that_answers_gets_the_run(tmp_path: Path, server: WandbServer) -> None:
    whole_run(tmp_path)
    created = next(variables for operation, variables in server.asked if operation == "UpsertBucket")
    assert (created["groupName"], created["jobType"]) == (RECORD.study, "vae")
    assert [row["train/loss"] for row in server.streamed["wandb-history.jsonl"]] == [3.0, 2.0, 1.0]
    last = server.streamed["wandb-summary.json"][-1]
    assert {key: last[key] for key in RECORD.metrics} == RECORD.metrics
    assert server.exit_codes[-1] == 0


def test_a_server_that_is_lost_during_a_run_does_not_block_it(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(weights_and_biases.TIMEOUTS, "finish_timeout", 1)
    monkeypatch.setitem(weights_and_biases.TIMEOUTS, "init_timeout", 1)
    logger = a_logger()
    start(logger, tmp_path / "a").log_metrics({"train/loss": 1.0, "epoch": 0}, 0)
    server.close()
    logger.finish(RECORD, {})
    logger.close(failed=False)
    folder = the_folder(tmp_path / "a", "run")
    assert f"wandb sync --include-online {folder}" in caplog.text
    assert summary(folder)["summary"]["fid/prior"] == 1.5
    whole_run(tmp_path / "b")
    assert "cannot open an online run" in caplog.text
    assert summary(the_folder(tmp_path / "b"))["state"] == "finished"


def test_a_service_that_dies_causes_warnings_and_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def dead(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("Connection lost")

    logger = a_logger()
    curves = start(logger, tmp_path / "a")
    with monkeypatch.context() as patch:
        for method in ("log", "define_metric", "finish"):
            patch.setattr(wandb.Run, method, dead)
        for epoch in range(3):
            curves.log_metrics({"train/loss": 1.0, "epoch": epoch}, epoch)
        logger.finish(RECORD, {})
        logger.close(failed=False)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 3
    assert all("ConnectionResetError: Connection lost" in warning for warning in warnings)
    whole_run(tmp_path / "b", run_id="b")
    assert summary(the_folder(tmp_path / "b"))["config"]["run_id"] == "b"


def test_a_run_without_a_method_is_named_by_its_parts() -> None:
    named = wandb_keys.variant(CHOICES | {"method": None, "regularizer": "mmd"}, CONFIG, {})
    assert named.startswith("mmd-normal-gaussian digits \N{GREEK SMALL LETTER BETA}=1 d=8 ")
