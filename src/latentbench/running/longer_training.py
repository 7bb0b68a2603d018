"""A longer training begins where a shorter one ended, which is kept in its folder."""

import glob
import logging
from pathlib import Path

from latentbench.configuration.identity import run_id
from latentbench.configuration.targets import locate
from latentbench.errors import UserError
from latentbench.models.base import GenerativeModel
from latentbench.records.provenance import code_digest
from latentbench.records.record import is_trained
from latentbench.records.run_folder import load_config
from latentbench.running.checkpoints import copy_checkpoint, resumable_checkpoint, training_device
from latentbench.running.job import CHECKPOINT, ResolvedRun

log = logging.getLogger(__name__)


def checkpoint_of_shorter_run(run: ResolvedRun, model: GenerativeModel) -> Path | None:
    """A copy of the last state of a trained run that differs in `trainer.max_epochs` alone; None if there is none.

    From there the training goes on as if it had not ended, and so has the bits of one from the beginning. It does not
    if a step depends on the length of the whole training: no such state is taken.
    """
    shorter = None if run.config.force else longest_shorter_run(run)
    if shorter is None:
        return None
    if model.follows_progress or locate(run.config.schedule._target_).follows_progress:
        part = "annealing" if model.follows_progress else "schedule"
        log.info("trained from the beginning, not from %s: the %s follows the training's length", shorter.name, part)
        return None
    checkpoint = resumable_checkpoint(shorter, code=code_digest(), device=training_device(run.config))
    if checkpoint is None:
        return None
    try:
        copied = copy_checkpoint(checkpoint, run.folder)
    except FileNotFoundError:  # trained again meanwhile
        return None
    log.info("trained further from the last state of %s", shorter.name)
    return copied


def longest_shorter_run(run: ResolvedRun) -> Path | None:
    """The folder of the trained run with most epochs, of those in the same folder that differ in their epochs alone."""
    epochs: dict[Path, int] = {}
    alike = glob.escape(run.folder.name.rpartition("-")[0])  # ids are alike up to their digest
    for path in run.folder.parent.glob(f"{alike}-*/{CHECKPOINT}"):
        try:
            config = load_config(path.parent)
        except UserError:
            continue
        chosen, n = dict(config.pop("choices")), config.trainer.max_epochs
        config.pop("resolved")
        config.trainer.max_epochs = run.config.trainer.max_epochs
        if n < config.trainer.max_epochs and run_id(config, chosen) == run.folder.name and is_trained(path.parent):
            epochs[path.parent] = n
    return max(epochs, key=epochs.__getitem__, default=None)
