"""Whole runs that train in half a second: a small network and a few digits."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import open_dict

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed
from latentbench.data.base import ImageData
from latentbench.data.digits import Digits
from latentbench.running.job import Job, Outcome, resolve
from latentbench.running.run import run_job

TINY = ("backbone.hidden=[8]", "latent_size=2", "trainer.max_epochs=1", "logger=none")


@contextmanager
def digits_are_few() -> Iterator[None]:
    """data=digits has 40 images in every split."""
    with digits_are(few_digits()):
        yield


@contextmanager
def digits_are(data: ImageData) -> Iterator[None]:
    """data=digits has the images of other data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digits, "load", lambda _: data.splits)
        yield


def tiny_job(output_dir: Path, *overrides: str) -> Job:
    """The job of a command with a small network; its folder is below the study of that name."""
    config = copy.deepcopy(composed(*TINY, *overrides, f"output_dir={output_dir}"))
    options = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config.hydra
    return Job(config, options, list(overrides), is_alone=True)


def run_tiny(output_dir: Path, *overrides: str, outcome: Outcome = "finished") -> Path:
    """Run a command with a small network in this process. Returns the folder of the run."""
    job = tiny_job(output_dir, *overrides)
    assert run_job(job) == outcome
    return resolve(job).folder
