"""Runs of W&B, and what their files say."""

import functools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from wandb.util import get_core_path

from latentbench.configuration.catalogue import preset
from latentbench.loggers.base import RunInfo
from latentbench.loggers.weights_and_biases import WeightsAndBiases
from latentbench.records import wandb_keys
from latentbench.records.record import Record

CHOICES = {
    "method": "vae",
    "data": "digits",
    "prior": "normal",
    "posterior": "gaussian",
    "regularizer": None,
    "sampler": ["gmm", "prior"],
    "seed": 0,
    "beta": 1.0,
    "latent_size": 8,
}


PRESET = preset("vae")


CONFIG = {"beta": 1.0, "prior": {"_target_": "some.Prior"}, "table": None}


VARIANT = wandb_keys.variant(CHOICES, CONFIG, PRESET)


NAME = f"{VARIANT} s0"


DIRECTIONS = {
    "fid": {"units": "squared feature distance", "higher_is_better": False},
    "sharpness": {"units": "1", "higher_is_better": True},
    "rate": {"units": "nats", "higher_is_better": None},
}


RECORD = Record(
    run_id="vae-digits-s0",
    study="prior_choice",
    status="finished",
    choices=CHOICES,
    preset=PRESET,
    config=CONFIG | {"resolved": {"metrics": DIRECTIONS}},
    environment={},
    metrics={
        "fid/prior": 1.5,
        "fid/prior@random@validation": 2.5,
        "fid/gmm": 0.25,
        "sharpness/prior": 0.5,
        "rate/test": 3.0,
        "unheard_of": 7.0,
    },
    skipped={"nll/test": "no likelihood"},
)


def a_logger() -> WeightsAndBiases:
    return WeightsAndBiases(project="latentbench", entity=None)


def the_folder(run_dir: Path, kind: str = "offline-run") -> Path:
    (folder,) = (run_dir / "wandb").glob(f"{kind}-*")
    return folder


WRITING_SECONDS = 5.0  # for which a run's file may lack its end after the run was closed, on a busy machine


@functools.cache
def inspect(folder: Path, *options: str) -> str:
    """What `wandb leet inspect --json` prints of a run's file, once that has its end or is not going to have one."""
    until = time.monotonic() + WRITING_SECONDS
    while json.loads(_inspect(folder, "--summary"))["state"] == "unknown" and time.monotonic() < until:
        time.sleep(0.2)
    return _inspect(folder, *options)


def _inspect(folder: Path, *options: str) -> str:
    """By the program that the command starts."""
    (file,) = folder.glob("run-*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options]
    command += ["--run-file", str(file), str(folder.parent)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind in the run's file."""
    content = [json.loads(line) for line in inspect(folder).splitlines()]
    return [row[kind] for row in content if row["type"] == kind]


def summary(folder: Path) -> dict[str, Any]:
    """State, config and summary of the run's file."""
    return json.loads(inspect(folder, "--summary"))


def logged(record: Record, run_dir: Path) -> Record:
    """Log the run of a record; returns the record."""
    logger = WeightsAndBiases(project="latentbench", entity=None)
    run = RunInfo(
        run_id=record.run_id,
        study=record.study,
        choices=record.choices,
        preset=record.preset,
        config=record.config,
        folder=run_dir,
    )
    logger.start(run)
    logger.finish(record, {})
    logger.close(failed=record.status != "finished")
    return record
