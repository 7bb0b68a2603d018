"""Composes the runs of a command line."""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from tqdm import tqdm

from latentbench.cli.tuned import tuned_jobs
from latentbench.configuration.compose import compose_started, hydra_started
from latentbench.configuration.copying import copy_of
from latentbench.configuration.overrides import translate
from latentbench.configuration.search import take_trial
from latentbench.errors import UserError
from latentbench.records.tuning import tune_of
from latentbench.running.job import Job

BAR_AFTER = 1.0  # seconds
MULTIRUN_FLAGS = ("-m", "--multirun")
# What nearly every sweep varies; no option goes by it.
WHOLE_NUMBER = re.compile(r"(seed|latent_size|trial)=(0|[1-9]\d*)")


def compose_jobs(arguments: Sequence[str]) -> list[Job]:
    """As `composed_jobs`, all at once, with a bar where that takes long: a thousand runs take half a minute."""
    jobs = composed_jobs(arguments)
    return list(tqdm(jobs, desc="compose", unit="run", delay=BAR_AFTER, leave=False, disable=None))


def composed_jobs(arguments: Sequence[str]) -> Iterator[Job]:
    """The composed runs of a command line: one, or with -m (or a study's own grid) every combination of values.

    Raises: UserError if the grid is empty, and what Hydra raises for a config that cannot be composed.
    """
    overrides, is_multirun = _split_flags(arguments)
    with hydra_started():
        try:
            overrides = translate(overrides)
            parser = OverridesParser.create(GlobalHydra.instance().config_loader())
            parsed = parser.parse_overrides(overrides)
            single_values = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
            config = compose_started(single_values)
            if not is_multirun and config.hydra.mode != RunMode.MULTIRUN:
                if len(single_values) < len(overrides):
                    config = compose_started(overrides)  # Hydra refuses several values and says how to give them
                if config.tune is not None:
                    raise UserError("tune: one run has no trials to choose among: add -m")
                yield _with_trial(_to_job(config, is_alone=True))
                return
            study, grid = config.hydra.runtime.choices.get("sweep"), config.hydra.sweeper.params or {}
            if study and not grid:
                raise UserError(f"sweep={study} has an empty grid: list the values to vary under hydra.sweeper.params")
            left_out = {override.key_or_group for override in parsed if override.is_delete()}  # such as by method=null
            varied = [f"{key}={values}" for key, values in grid.items() if key not in left_out]
            grid_overrides = parser.parse_overrides(varied)
            (combinations,) = BasicSweeper.split_arguments([*grid_overrides, *parsed], None)
            if not combinations:
                raise UserError("the grid is empty: a range or a list of choices in the command has no values")
            tune = tune_of(config)
            varied_keys = {each.key_or_group for each in (*grid_overrides, *parsed) if each.is_sweep_override()}
            make_jobs = functools.partial(_sweep_jobs, {}, not varied_keys.isdisjoint({"method", "model"}))
            yield from tuned_jobs(config, tune, combinations, make_jobs) if tune else make_jobs(combinations)
        except ValueError as error:  # from Hydra's parser, whose message does not name the argument
            raise UserError(f"{error} (in: {' '.join(arguments)})") from error


def _sweep_jobs(
    firsts: dict[tuple[str, ...], tuple[Job, Sequence[str]]],
    varies_model: bool,
    combinations: Iterable[Sequence[str]],
) -> Iterator[Job]:
    """The job of each combination.

    Those that differ in `WHOLE_NUMBER` alone are copies of the first, which `firsts` keeps: Hydra takes a quarter of a
    second for a run, a copy less than a hundredth of one.
    """
    for words in combinations:
        numbers = _whole_numbers(words)
        others = tuple(key if (key := word.partition("=")[0]) in numbers else word for word in words)
        if others not in firsts:
            firsts[others] = _to_job(compose_started(words), is_alone=False)._replace(varies_model=varies_model), words
        first, its_words = firsts[others]
        config, new_words = copy_of(first.config), dict(zip(its_words, words, strict=True))
        for key, number in numbers.items():
            config[key] = number
        job = first._replace(config=config, overrides=[new_words.get(word, word) for word in first.overrides])
        yield _with_trial(job)


def _whole_numbers(words: Sequence[str]) -> dict[str, int]:
    """What a combination sets as in `WHOLE_NUMBER`, and sets once."""
    times_set = Counter(word.lstrip("+~").partition("=")[0] for word in words)
    found = [match for word in words if (match := WHOLE_NUMBER.fullmatch(word))]
    return {key: int(number) for key, number in (match.groups() for match in found) if times_set[key] == 1}


def _split_flags(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The overrides, and whether -m was given."""
    overrides = [word for word in arguments if word not in MULTIRUN_FLAGS]
    for word in overrides:
        if word.startswith("-"):
            raise UserError(f"{word}: there is no such flag; see `latentbench --help`")
    return overrides, len(overrides) < len(arguments)


def _to_job(config: DictConfig, *, is_alone: bool) -> Job:
    """A job without what its trial chooses."""
    choices, words = dict(config.hydra.runtime.choices), list(config.hydra.overrides.task)
    with open_dict(config):
        del config.hydra
    return Job(config, choices, words, is_alone)


def _with_trial(job: Job) -> Job:
    """The job with what its trial chooses."""
    take_trial(job.config, job.overrides, job.options)
    OmegaConf.resolve(job.config.logger)  # a run on another machine is logged as this machine's environment says
    return job
