"""A composed run, the resolved run, and its outcome. Imports no torch, so that commands start quickly."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentbench.configuration.catalogue import MEASURING_GROUPS, PARTS
from latentbench.configuration.copying import copy_of
from latentbench.configuration.identity import choices, model_arguments, run_id
from latentbench.configuration.published import weight_of_another_likelihood
from latentbench.configuration.search import trial_facts
from latentbench.configuration.value_checks import check
from latentbench.configuration.weight import as_one_number
from latentbench.errors import UserError
from latentbench.records.classifiers import choose_classifier
from latentbench.records.measuring import SOURCE, Settings, cells_to_measure, settings_of
from latentbench.records.outside import outside_digest, outside_digests
from latentbench.records.record import is_trained, load_or_none

log = logging.getLogger(__name__)

NOT_RECORDED = ("published", "search", "tune")  # what a method or a study tells, beside what it sets for a run
LOCK = "lock"  # file in a run folder, locked while a process works on the run
CHECKPOINT = "last.ckpt"  # file in a run folder, from which an interrupted run continues

# invalid: a setting, the data or the environment cannot be used; killed: the process of the run died.
Outcome = Literal[
    "finished",
    "finished before",
    "finished, but a metric failed",
    "locked by another process",
    "failed",
    "refused",
    "invalid",
    "killed",
]


class Job(NamedTuple):
    """A composed run, before it is resolved."""

    config: DictConfig
    options: dict[str, Any]  # Hydra's `runtime.choices`: the chosen option of every group
    overrides: list[str]  # as given on the command line
    is_alone: bool  # not part of a sweep; a refused run is an error if alone, and a result like any other in a sweep
    varies_model: bool = False  # in a sweep over methods or models, of which some do not have the parts of others
    stored: Path | None = None  # folder of a stored run, which is only measured; None: the run is trained if necessary

    @property
    def command(self) -> str:
        """The run's overrides, for messages."""
        return " ".join(self.overrides)


class ResolvedRun(NamedTuple):
    """A run reduced to the parts that its model uses, which decide its id and its folder."""

    config: DictConfig
    choices: dict[str, Any]
    folder: Path
    is_only_measured: bool = False  # a stored run, which is not trained
    trial: Mapping[str, Any] = {}  # what its trial has chosen, as of `trial_facts`
    refusal: str | None = None  # of parts that are given for it and that its model does not use
    weight_caveat: str | None = None  # why `beta` does not mean here what it means in the method's paper

    @property
    def is_trained(self) -> bool:
        """Whether it needs no training: a trained model is stored, and `force` does not ask for another."""
        if self.config.force and not self.is_only_measured:
            return False
        return is_trained(self.folder)

    @property
    def is_done(self) -> bool:
        """Whether the run is trained and every number it asks for is recorded, and `force` is not set."""
        record = load_or_none(self.folder)
        if self.config.force or record is None or not record.is_trained:
            return False
        return record.status == "finished" and not cells_to_measure(record, self.requested)

    @property
    def requested(self) -> Settings:
        """The settings with which the run is to be measured; those of options from outside name their source."""
        settings = settings_of(OmegaConf.to_container(self.config, resolve=True))  # type: ignore[arg-type]
        for node in (node for group in MEASURING_GROUPS for node in settings[group].values()):
            node.pop(SOURCE, None)  # of a stored run, whose source may have changed
            if digest := outside_digest(node):
                node[SOURCE] = digest
        return settings


def resolve(job: Job) -> ResolvedRun:
    """Drop the parts that the model does not use: a GAN has no likelihood, even if a sweep sets one for other methods.

    A part that is given for this run, and not for a sweep over methods, is refused if its model does not use it.
    `features=auto` becomes the features that it means for the run's data.

    What takes part from outside the package is named by digests under `outside`, and so counts for the id.
    Raises: UserError if a value is invalid.
    """
    config, options = job.config, job.options
    if job.stored:
        choose_classifier(config, options["data"])
        return ResolvedRun(config, options, job.stored, is_only_measured=True)
    check(config)
    arguments = model_arguments(config)
    unused = [group for group in PARTS if group not in arguments]
    # A word that begins with ~ takes a part away, and gives none.
    words = [] if job.varies_model else job.overrides
    given = {word.lstrip("+").partition("=")[0].partition(".")[0] for word in words}
    useless = [group for group in unused if group in given and config.get(group) is not None]
    dropped = [group for group in unused if group not in useless]
    caveat = weight_of_another_likelihood(config, options) if "likelihood" in arguments else None
    resolved = copy_of(config)
    OmegaConf.set_struct(resolved, False)
    for key in (*dropped, *NOT_RECORDED):
        resolved.pop(key, None)
    choose_classifier(resolved, options["data"])
    # All values are one run without a regularizer to weight.
    resolved.beta = None if "regularizer" in unused else as_one_number(config.beta)
    if digests := outside_digests(resolved):
        OmegaConf.update(resolved, "outside", digests, force_add=True)
    chosen = choices(resolved, options) | dict.fromkeys(dropped)
    folder = Path(config.output_dir) / config.study / run_id(resolved, chosen)
    refusal = _refusal(options, useless) if useless else None
    return ResolvedRun(resolved, chosen, folder, trial=trial_facts(config), refusal=refusal, weight_caveat=caveat)


def _refusal(options: Mapping[str, Any], useless: Sequence[str]) -> str:
    parts = ", ".join(f"{group}={options[group]}" for group in useless)
    them = "it" if len(useless) == 1 else "them"
    return f"model={options['model']} has no use for {parts}: leave {them} out, or take model=autoencoder"


def resolve_or_none(job: Job) -> ResolvedRun | None:
    """The resolved run; None if a value is invalid, which `run_job` reports."""
    try:
        return resolve(job)
    except (UserError, OmegaConfBaseException):
        return None


def log_finished_before(run: ResolvedRun) -> None:
    again = "measures" if run.is_only_measured else "trains and measures"
    log.info("%s is finished already (force=true %s it again)", run.folder, again)


def log_killed(job: Job, cause: object) -> Outcome:
    """Log that the process of a run died and return this outcome.

    The operating system has released its lock, and its last checkpoint is in its folder, so that it can be resumed.
    """
    log.error("killed (%s): %s; the same command resumes it", cause, job.command)
    return "killed"
