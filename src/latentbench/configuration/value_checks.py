"""Checks of the single values in a composed config.

Whether the chosen parts fit together is checked when the model is built: by `Regularizer.refuses`, for example."""

import math
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import option_files, read_option
from latentbench.configuration.messages import explain_unknown_key
from latentbench.configuration.search import MAX_TRIAL
from latentbench.configuration.weight import work_out
from latentbench.errors import UserError

# Whole numbers: smallest and largest valid value.
BOUNDS = {
    "trial": (0, MAX_TRIAL),
    "seed": (0, 2**32 - 1),
    "latent_size": (1, None),
    "threads": (1, None),
    "trainer.max_epochs": (1, None),
}

LIGHTNING = "pytorch_lightning.Trainer"
# Settings of Lightning's trainer that are not in conf/trainer, and have the effect that they have there.
FURTHER_TRAINER_KEYS = ("limit_train_batches", "limit_val_batches", "num_nodes", "benchmark", "detect_anomaly")


def check(config: DictConfig) -> None:
    """Raises: UserError for the first value that is not valid."""
    for name, (minimum, maximum) in BOUNDS.items():
        value = OmegaConf.select(config, name)
        if type(value) is not int or value < minimum or (maximum is not None and value > maximum):
            limit = "" if maximum is None else f" and {maximum} or less"
            raise UserError(f"{name}={value}: {name} must be a whole number, {minimum} or more{limit}")
    _check_trainer(config.trainer)
    work_out(config.beta, pixels=1, latents=1)
    if type(config.checkpoint_seconds) not in (int, float) or not config.checkpoint_seconds >= 0:
        raise UserError(f"checkpoint_seconds={config.checkpoint_seconds}: give a number of seconds, 0 or more")
    for name, number in floats(OmegaConf.to_container(config, resolve=False)):
        if not math.isfinite(number):
            raise UserError(f"{name}={number}: give a finite number")
    for name in ("force", "keep_state"):
        if type(config[name]) is not bool:
            raise UserError(f"{name}={config[name]}: {name} must be true or false")
    if type(config.output_dir) is not str or not config.output_dir:
        raise UserError(f"output_dir={config.output_dir}: output_dir must be a folder's path")
    if type(config.study) is not str or not re.fullmatch(r"\w[\w.-]*", config.study):
        raise UserError(
            f"study={config.study}: a study's name is a folder's name: letters, digits, '_', '-' and '.', no '.' first"
        )


def _check_trainer(trainer: DictConfig) -> None:
    """Raises: UserError for a key that latentbench sets itself, or that has no effect on its own training steps."""
    if trainer._target_ != LIGHTNING:  # somebody else's, whose constructor refuses what it does not know
        return
    known = {str(key) for path in option_files("trainer") for key in read_option(path)} | {*FURTHER_TRAINER_KEYS}
    for key in trainer:
        if key not in known:
            raise UserError(explain_unknown_key(f"trainer.{key!s}"))


def floats(node: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every float of a nested container with its full key."""
    if isinstance(node, float):
        yield prefix, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from floats(value, f"{prefix}.{key}".lstrip("."))
