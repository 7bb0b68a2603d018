"""Checkpoints, from which interrupted runs resume, and longer ones begin."""

import contextlib
import logging
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Checkpoint

from latentbench.running.job import CHECKPOINT

log = logging.getLogger(__name__)


class PeriodicCheckpoint(Checkpoint):
    """Saves a checkpoint at the end of an epoch, at most once every `seconds`, and after the last epoch.

    It holds weights, optimizers, progress and the states of the random number generators, so that an interrupted run
    ends with the same numbers as one that was not interrupted. Lightning calls this kind of callback after all others,
    when the epoch is complete.

    code: a digest of the training code; a checkpoint of other code is not resumed
    began: the run whose checkpoint this training began with, and the epochs that it had; None: from the beginning
    """

    def __init__(self, run_dir: Path, *, seconds: float, code: str) -> None:
        self.path = run_dir / CHECKPOINT
        self.code = code
        self.seconds = seconds
        self.started = self.last_save = time.monotonic()
        self.seconds_before = 0.0  # of this run's training, until it was interrupted
        self.resumed_state: dict[str, Any] | None = None
        self.epochs = 0
        self.device = ""
        self.began: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The digest of the code and the states of the random number generators, of the CPU and of the current GPU.

        Beside them is where the training began, and where it is.
        """
        on_device = torch.cuda.get_rng_state() if self.device == "cuda" else None
        where = {"run": self.path.parent.name, "epochs": self.epochs, "began": self.began, "device": self.device}
        seconds = self.seconds_before + time.monotonic() - self.started
        random = {"random": torch.get_rng_state(), "random_on_device": on_device}
        return {"code": self.code, "seconds": seconds, **random, **where}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until training starts, since Lightning may draw random numbers before."""
        self.resumed_state = state_dict
        is_own = state_dict["run"] == self.path.parent.name
        self.began = state_dict["began"] if is_own else {key: state_dict[key] for key in ("run", "epochs")}
        self.seconds_before = state_dict["seconds"] if is_own else 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the random number generators of the checkpoint."""
        if self.resumed_state:
            torch.set_rng_state(self.resumed_state["random"])
            if self.resumed_state["random_on_device"] is not None:
                torch.cuda.set_rng_state(self.resumed_state["random_on_device"])
            self.resumed_state = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if a checkpoint is due. A crash leaves either the previous or the new checkpoint."""
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        is_due = is_last or time.monotonic() - self.last_save >= self.seconds
        if not trainer.strategy.broadcast(is_due):  # the first process's clock decides for all
            return
        part = _partial_path(self.path)
        self.epochs, self.device = trainer.current_epoch + 1, trainer.strategy.root_device.type
        with _removed_on_error(part):
            trainer.save_checkpoint(part)
            self.last_save = time.monotonic()
            if not trainer.is_global_zero:
                return
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, self.path)


def find_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint in a run folder, if there is one."""
    path = run_dir / CHECKPOINT
    return path if path.is_file() else None


def training_device(config: DictConfig) -> str:
    """The kind of device on which Lightning trains: cuda, mps or cpu."""
    accelerator = config.trainer.accelerator
    if accelerator != "cpu" and torch.cuda.is_available():
        return "cuda"
    return "mps" if accelerator != "cpu" and torch.backends.mps.is_available() else "cpu"


def seconds_before(trainer: pl.Trainer) -> float:
    """The seconds that a training had taken before it was interrupted."""
    checkpoints = trainer.checkpoint_callback
    return checkpoints.seconds_before if isinstance(checkpoints, PeriodicCheckpoint) else 0.0


def resumable_checkpoint(run_dir: Path, *, code: str, device: str) -> Path | None:
    """The checkpoint of an interrupted run; None if there is none, it cannot be read, or other code wrote it.

    device: the kind that the training would go on with. None if it began on another one, whose numbers differ
    """
    path = find_checkpoint(run_dir)
    if path is None:
        return None
    try:
        states = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["callbacks"]
        state = states[PeriodicCheckpoint.__name__]
        trained_by, trained_on = state["code"], state["device"]
    except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, EOFError) as error:
        log.warning("%s cannot be read (%s): the run starts from the beginning", path, error)
        return None
    if trained_by != code:
        log.warning("%s is from another version of latentbench or torch: the run starts from the beginning", path)
        return None
    if trained_on != device:
        log.warning("%s is of a training on %s, not %s: the run starts from the beginning", path, trained_on, device)
        return None
    return path


def copy_checkpoint(source: Path, run_dir: Path) -> Path:
    """Copy a checkpoint into the folder of another run, whole or not at all. Returns the copy."""
    path = run_dir / CHECKPOINT
    part = _partial_path(path)
    with _removed_on_error(part):
        shutil.copyfile(source, part)
    os.replace(part, path)
    return path


def remove_checkpoint(run_dir: Path) -> None:
    """Delete the checkpoint and any incomplete one that a crash left."""
    path = run_dir / CHECKPOINT
    for file in (path, _partial_path(path)):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _removed_on_error(part: Path) -> Iterator[None]:
    """A file that cannot be written whole goes: on a full disk this makes room for the record of the failure."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _partial_path(path: Path) -> Path:
    return path.with_suffix(".part")
