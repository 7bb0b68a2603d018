"""What a run that was cut off goes on from."""

import contextlib
import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

log = logging.getLogger(__name__)

FILE_NAME = "last.ckpt"


class Checkpoints(Checkpoint):
    """Keeps the state of the training after an epoch, at most every so many seconds, and after the last.

    With it a run goes on as if it had never stopped: weights, optimizers, how far it is, and the random numbers to
    come. Lightning calls this kind of callback after all others, when nothing of the epoch is left to do.

    code: a digest of what trains; other code does not go on from the checkpoint.
    """

    def __init__(self, run_dir: Path, *, seconds: float, code: str) -> None:
        self.path = run_dir / FILE_NAME
        self.code = code
        self.seconds = seconds
        self.saved = time.monotonic()
        self.resumed: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The digest of the code and the states of the generators of random numbers."""
        on_device = torch.cuda.get_rng_state() if torch.cuda.is_available() else None  # the one that trains
        return {"code": self.code, "random": torch.get_rng_state(), "random_on_device": on_device}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states up when training goes on: what Lightning prepares before may draw."""
        self.resumed = state_dict

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on drawing where the checkpoint was made."""
        if self.resumed:
            torch.set_rng_state(self.resumed["random"])
            if self.resumed["random_on_device"] is not None:
                torch.cuda.set_rng_state(self.resumed["random_on_device"])
            self.resumed = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the state, whole or not at all."""
        is_due = time.monotonic() - self.saved >= self.seconds or trainer.current_epoch + 1 == trainer.max_epochs
        if not trainer.strategy.broadcast(is_due):  # by the first process's clock
            return
        part = self.path.with_suffix(".part")
        try:
            trainer.save_checkpoint(part)
            self.saved = time.monotonic()
            if not trainer.is_global_zero:
                return
            with part.open("rb") as file:
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)  # of a full disk, which has to take a record yet
            raise
        os.replace(part, self.path)


def kept(run_dir: Path) -> Path | None:
    """The checkpoint in a run's folder, if there is one."""
    path = run_dir / FILE_NAME
    return path if path.is_file() else None


def last(run_dir: Path, *, code: str) -> Path | None:
    """The checkpoint of a run that was cut off; None if there is none that can be read and is of the same code."""
    path = kept(run_dir)
    if path is None:
        return None
    try:
        states = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["callbacks"]
        trained_by = states[Checkpoints.__name__]["code"]
    except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, EOFError) as error:
        log.warning("%s cannot be read (%s): the run begins anew", path, error)
        return None
    if trained_by != code:
        log.warning("%s is of other code of latentbench or torch: the run begins anew", path)
        return None
    return path


def forget(run_dir: Path) -> None:
    """Remove what is needed no more."""
    for path in (run_dir / FILE_NAME, (run_dir / FILE_NAME).with_suffix(".part")):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
