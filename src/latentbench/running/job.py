"""A run that is to be: its config, its choices and its folder."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import PARTS
from latentbench.configuration.identity import choices, run_id
from latentbench.configuration.validation import check

LOCK = "lock"  # a file in a run's folder, held while a process is at it


class Job(NamedTuple):
    """A run that is to be."""

    config: DictConfig  # composed
    options: dict[str, Any]  # Hydra's `runtime.choices`, the option of every group
    overrides: list[str]  # what the command says of it, for messages
    is_alone: bool  # and not one of a sweep, of which a refused pair is a result like any other


def taken_by_model(config: DictConfig) -> set[str]:
    """Names of what the model's constructor takes."""
    return set(inspect.signature(get_class(config.model._target_)).parameters)


def settle(config: DictConfig, options: Mapping[str, Any]) -> tuple[DictConfig, dict[str, Any], Path]:
    """The run as it will be, its choices and its folder: a GAN has no likelihood, whichever is set for its competitors.

    Raises: UserError if a value has no meaning.
    """
    check(config)
    unused = [group for group in PARTS if group not in taken_by_model(config)]
    settled = OmegaConf.masked_copy(config, [str(key) for key in config if key not in unused])
    # beta=1 and beta=1.0 are one run, and so are all without a regularizer to weigh.
    settled.beta = None if "regularizer" in unused else float(config.beta)
    chosen = choices(settled, options) | dict.fromkeys(unused)
    return settled, chosen, Path(config.output_dir) / config.study / run_id(settled, chosen)
