"""The two stages of a study that tunes: its trials, then what they choose, with the seeds of the study's own grid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from latentbench.errors import UserError
from latentbench.records.record import Record, load_or_none
from latentbench.records.tuning import Tune, best_trial, has_ended
from latentbench.running.job import Job, resolve_or_none

Words = tuple[str, ...]


def tuned_jobs(
    config: DictConfig,
    tune: Tune,
    combinations: Iterable[Sequence[str]],
    make_jobs: Callable[[Iterable[Sequence[str]]], Iterator[Job]],
) -> Iterator[Job]:
    """The jobs of all trials, and then of what they choose, as far as it is known: where all trials are spent.

    A cell is a combination of the study's grid without its seed. Trials are measured against validation images alone,
    by the metrics that the rules look at.

    config: of the study, without its grid; make_jobs: composes the jobs of combinations
    Raises: UserError if a seed of the trials is one of the grid, the grid has trials, or no metric or no trial has what
    a rule looks at.
    """
    metrics = _metrics_of_rules(config, tune)
    cells: dict[Words, list[str]] = {}
    for words in combinations:
        if any(word.partition("=")[0].lstrip("+") == "trial" for word in words):
            raise UserError("trial: a study that tunes chooses it: leave it out, or set tune=null")
        cell = tuple(word for word in words if not word.startswith("seed="))
        seed = next((word for word in words if word.startswith("seed=")), f"seed={config.seed}")
        if seed in {f"seed={seed}" for seed in tune.seeds}:
            raise UserError(f"{seed} is one of the trials' (tune.seeds): what they choose needs others")
        cells.setdefault(cell, []).append(seed)
    of_trials = [
        (cell, trial, (*_without_split(cell), f"trial={trial}", f"seed={seed}"))
        for cell in cells
        for trial in tune.numbers
        for seed in tune.seeds
    ]
    records: dict[Words, dict[int, list[Record | None]]] = {}
    for (cell, trial, _), job in zip(of_trials, make_jobs(words for _, _, words in of_trials), strict=True):
        job.config.metric = OmegaConf.masked_copy(job.config.metric, metrics)
        job.config.measure_against = ["validation"]
        yield job._replace(overrides=[*job.overrides, "measure_against=[validation]"])
        records.setdefault(cell, {}).setdefault(trial, []).append(_record_of(job))
    _check_rules(tune, [record for trials in records.values() for each in trials.values() for record in each])
    yield from make_jobs(
        (*cell, f"trial={trial}", seed)
        for cell, seeds in cells.items()
        for trial in _chosen(records[cell], tune)
        for seed in seeds
    )


def _without_split(words: Words) -> Words:
    return tuple(word for word in words if not word.startswith("measure_against="))


def _metrics_of_rules(config: DictConfig, tune: Tune) -> list[str]:
    """The metrics of a study that its rules look at. Raises: UserError if a rule looks at none."""
    classes: dict[str, Any] = {name: get_class(metric._target_) for name, metric in config.metric.items()}
    measured = {name: set(metric.quantities) for name, metric in classes.items()}
    looked_at = {rule.partition("/")[0] for rule in tune.select}
    if missing := looked_at.difference(*measured.values()):
        raise UserError(f"tune.select: no metric of the study measures {', '.join(sorted(missing))}")
    return [name for name, quantities in measured.items() if quantities & looked_at]


def _check_rules(tune: Tune, records: Sequence[Record | None]) -> None:
    """Raises: UserError if all trials are spent and none has the number that a rule looks at."""
    found = {key for record in records if record for key in record.metrics}
    for rule in tune.select:
        if found and rule not in found and all(map(has_ended, records)):
            raise UserError(f"tune.select={rule}: no trial has it; choose from {', '.join(sorted(found))}")


def _record_of(job: Job) -> Record | None:
    run = resolve_or_none(job)
    return load_or_none(run.folder) if run else None


def _chosen(records: dict[int, list[Record | None]], tune: Tune) -> list[int]:
    """The trials that the rules choose, and trial 0 beside them; none before all trials of the cell are spent."""
    if not all(has_ended(record) for of_trial in records.values() for record in of_trial):
        return []
    chosen = [best_trial(records, rule) for rule in tune.select]
    return list(dict.fromkeys([0, *(trial for trial in chosen if trial is not None)]))
