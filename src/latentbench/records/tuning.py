"""How a study tunes: its trials, the rule that chooses among them, and what it chooses from their records."""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.search import MAX_TRIAL
from latentbench.errors import UserError
from latentbench.records.keys import VALIDATION, view_of
from latentbench.records.record import Record

EXAMPLE = "{trials: 16, seeds: [1000], select: fid/prior@validation}"


class Tune(NamedTuple):
    """Trial 0, which is the method as it is, and `trials` more, each with every one of `seeds`.

    select: the rules, each the key of a number against validation images
    """

    trials: int
    seeds: tuple[int, ...]
    select: tuple[str, ...]

    @property
    def numbers(self) -> range:
        """The numbers of all trials."""
        return range(self.trials + 1)

    def is_trial(self, seed: int) -> bool:
        """Whether a run with this seed is one of the study's trials."""
        return seed in self.seeds


def tune_of(config: DictConfig) -> Tune | None:
    """How the study of a config tunes; None if it does not.

    Raises: UserError if that is not valid, or a rule would look at test images.
    """
    tune: Any = OmegaConf.to_container(config.tune) if OmegaConf.is_dict(config.tune) else config.tune
    if tune is None:
        return None
    if not isinstance(tune, dict) or tune.keys() != set(Tune._fields):
        raise UserError(f"tune={tune}: give {EXAMPLE}")
    trials, seeds, select = tune["trials"], tune["seeds"], tune["select"]
    if type(trials) is not int or not 0 < trials <= MAX_TRIAL:
        raise UserError(f"tune.trials={trials}: give a whole number, 1 or more")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise UserError(f"tune.seeds={seeds}: give a list of seeds, such as [1000]")
    rules = [select] if isinstance(select, str) else select
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, str) and "/" in rule for rule in rules):
        raise UserError(f"tune.select={select}: give the key of a number, such as fid/prior@validation, or several")
    for rule in rules:
        check_rule(rule, "tune.select")
    return Tune(trials, tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(rules)))


def check_rule(rule: str, key: str) -> None:
    """Raises: UserError if a rule, the value of a key, would look at test images."""
    if view_of(rule).split != VALIDATION:
        raise UserError(
            f"{key}={rule}: test images choose nothing: give a number against validation images, such as "
            "fid/prior@validation or nll/validation"
        )


def has_ended(record: Record | None) -> bool:
    """Whether a trial is spent: it is measured, or has failed or was refused, in training or in measuring."""
    return record is not None and (record.status != "trained" or record.reason is not None)


def scores(trials: Mapping[int, Collection[Record | None]], rule: str) -> dict[int, float]:
    """Trial -> the mean over seeds of what the rule looks at, for trials that have it of every seed."""
    found = {}
    for trial, records in sorted(trials.items()):
        values = [record.metrics.get(rule) for record in records if record and record.status == "finished"]
        numbers = [value for value in values if value is not None]
        if numbers and len(numbers) == len(records):
            found[trial] = statistics.fmean(numbers)
    return found


def direction(records: Iterable[Record], rule: str) -> int:
    """1 if more is better of what a rule looks at, -1 if less is. Raises: UserError if neither is."""
    quantity = rule.partition("/")[0]
    for record in records:
        fact = ((record.config.get("resolved") or {}).get("metrics") or {}).get(quantity)
        if fact:
            if fact.get("higher_is_better") is None:
                raise UserError(f"tune.select={rule}: neither more nor less of {quantity} is better")
            return 1 if fact["higher_is_better"] else -1
    return -1  # no record has it: nothing is chosen


def best_trial(trials: Mapping[int, Sequence[Record | None]], rule: str) -> int | None:
    """The trial that a rule chooses, of equal ones the first; None if no trial has what it looks at."""
    of_trial = scores(trials, rule)
    sign = direction((record for records in trials.values() for record in records if record), rule)
    return max(of_trial, key=lambda trial: (sign * of_trial[trial], -trial), default=None)
