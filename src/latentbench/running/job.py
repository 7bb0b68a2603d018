"""A composed run, the resolved run, and its outcome. Imports no torch, so that commands start quickly."""

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentbench.configuration.catalogue import PARTS
from latentbench.configuration.identity import choices, run_id
from latentbench.configuration.value_checks import check
from latentbench.errors import UserError
from latentbench.records.record import status_of

log = logging.getLogger(__name__)

LOCK = "lock"  # file in a run folder, locked while a process works on the run
CHECKPOINT = "last.ckpt"  # file in a run folder, from which an interrupted run continues

# invalid: a setting, the data or the environment cannot be used; killed: the process of the run died.
Outcome = Literal["finished", "finished before", "locked by another process", "failed", "refused", "invalid", "killed"]


class Job(NamedTuple):
    """A composed run, before it is resolved."""

    config: DictConfig
    options: dict[str, Any]  # Hydra's `runtime.choices`: the chosen option of every group
    overrides: list[str]  # as given on the command line
    is_alone: bool  # not part of a sweep; a refused run is an error if alone, and a result like any other in a sweep

    @property
    def command(self) -> str:
        """The run's overrides, for messages."""
        return " ".join(self.overrides)


class ResolvedRun(NamedTuple):
    """A run reduced to the parts that its model uses, which decide its id and its folder."""

    config: DictConfig
    choices: dict[str, Any]
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether the run is finished, and `force` is not set."""
        return not self.config.force and status_of(self.folder) == "finished"


def model_arguments(config: DictConfig) -> set[str]:
    """Names of the arguments that the model's constructor takes."""
    return set(inspect.signature(get_class(config.model._target_)).parameters)


def resolve(config: DictConfig, options: Mapping[str, Any]) -> ResolvedRun:
    """Drop the parts that the model does not use: a GAN has no likelihood, even if a sweep sets one for other methods.

    options: as in Job
    Raises: UserError if a value is invalid.
    """
    check(config)
    arguments = model_arguments(config)
    unused = [group for group in PARTS if group not in arguments]
    resolved = OmegaConf.masked_copy(config, [str(key) for key in config if key not in unused])
    # beta=1 and beta=1.0 are one run, and so are all values without a regularizer to weight.
    resolved.beta = None if "regularizer" in unused else float(config.beta)
    chosen = choices(resolved, options) | dict.fromkeys(unused)
    return ResolvedRun(resolved, chosen, Path(config.output_dir) / config.study / run_id(resolved, chosen))


def resolve_or_none(job: Job) -> ResolvedRun | None:
    """The resolved run; None if a value is invalid, which `run_job` reports."""
    try:
        return resolve(job.config, job.options)
    except (UserError, OmegaConfBaseException):
        return None


def log_finished_before(run: ResolvedRun) -> None:
    log.info("%s is finished already (force=true runs it again)", run.folder)


def log_killed(job: Job, cause: object) -> Outcome:
    """Log that the process of a run died and return this outcome.

    The operating system has released its lock, and its last checkpoint is in its folder, so that it can be resumed.
    """
    log.error("killed (%s): %s; the same command resumes it", cause, job.command)
    return "killed"
