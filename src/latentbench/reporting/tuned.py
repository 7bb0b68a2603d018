"""What a study that tunes chose, what it spent for that, and how good a choice is after fewer trials."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from latentbench.configuration.settings import Settings, settings, shared_by_seeds
from latentbench.records.keys import against_test
from latentbench.records.record import Record
from latentbench.records.tuning import Tune, best_trial, direction, has_ended, scores, tune_of
from latentbench.reporting.grouping import MISSING, one_run_per_seed, separating_keys
from latentbench.reporting.summary import Row, Summary, format_value, label_of

EDGE = 0.05  # share of a range, at either end, in which a choice is at its edge
TUNED, PRESET = "tuned", "preset"
LOW, HIGH = 0.1, 0.9  # quantiles between which the best of n trials lies in most draws

CellValues = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen for a cell, a combination of the study's grid without its seeds, such as a method.

    values: key -> value, which tell the cell from others
    trials: trial -> its records, one per seed of the trials; a trial without records has not started
    scores: trial -> what the rule looks at, if it has that
    trial: the one that the rule chooses; None: none has what it looks at, or not all trials are spent
    fresh: trial -> the same number against test images, of each run with a seed of the table
    sign: 1 if more is better of what the rule looks at, -1 if less is
    """

    values: dict[str, Any]
    trials: dict[int, list[Record]]
    scores: dict[int, float]
    trial: int | None
    fresh: dict[int, list[float]]
    is_spent: bool
    sign: int

    @property
    def name(self) -> str:
        return label_of(self.values)

    @property
    def facts(self) -> Mapping[str, Mapping[str, Any]]:
        """What the chosen trial set, by key, with its range; {} for the method as it is."""
        if not self.trial:
            return {}
        facts: dict[str, dict[str, Any]] = self.trials[self.trial][0].config["resolved"]["trial"]
        return facts

    @property
    def at_edge(self) -> list[str]:
        """The keys whose chosen value is at the edge of its range."""
        return [key for key, fact in self.facts.items() if is_at_edge(fact)]

    @property
    def seconds(self) -> float:
        """Of all its trials, training and measuring."""
        return sum(sum(record.seconds.values()) for of_trial in self.trials.values() for record in of_trial)

    @property
    def searched(self) -> list[float]:
        """What the rule looks at, of every trial but the method as it is, best first; nan of those without it.

        Empty before all trials are spent."""
        if not self.is_spent:
            return []
        numbers = [number for trial, number in self.scores.items() if trial > 0]
        numbers.sort(key=lambda number: -self.sign * number)
        return numbers + [math.nan] * (sum(trial > 0 for trial in self.trials) - len(numbers))

    def text(self, keys: Iterable[str]) -> str:
        """The chosen values of some keys."""
        return ", ".join(f"{key}={format_value(self.facts[key]['value'])}" for key in keys)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a study chooses by one rule, and the runs of its table, whose `trial` is `preset` or `tuned`.

    n_outdated: how many runs are of trials that are not chosen
    repeats: a note on each run of a trial that is not counted because it repeats another
    """

    tune: Tune
    rule: str
    choices: list[Choice]
    runs: list[Record]
    n_outdated: int
    repeats: list[str]


class BestOf(NamedTuple):
    """The best of n trials that are drawn without replacement: its mean, and its 10 % and 90 % quantiles."""

    n: int
    mean: float
    low: float
    high: float


def each_rule(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """For every rule of a study the name of a folder and the config with this rule alone; no name if it is the only."""
    tune = tune_of(config)
    if tune is None or len(tune.select) == 1:
        yield "", config
        return
    for rule in tune.select:
        one = config.copy()
        one.tune.select = rule
        yield rule.replace("/", "_").replace("@", "_"), one


def read_tuned(records: Sequence[Record], tune: Tune, rows: Sequence[str]) -> Tuned:
    """What the first rule of a study chooses.

    rows: the keys that name cells, to which others are added where needed
    """
    every_settings = [settings(record.choices, record.config) for record in records]
    is_trial = [tune.is_trial(record.choices["seed"]) for record in records]
    of_trials = [values for values, is_one in zip(every_settings, is_trial, strict=True) if is_one]
    keys = _cell_keys([values for values in of_trials if not values.get("trial")], rows)
    trials: dict[CellValues, dict[int, list[Record]]] = {}
    others: dict[CellValues, list[Record]] = {}
    for record, values, is_one in zip(records, every_settings, is_trial, strict=True):
        cell = tuple(values.get(key, MISSING) for key in keys)
        if is_one:
            trials.setdefault(cell, {}).setdefault(values.get("trial", 0), []).append(record)
        else:
            others.setdefault(cell, []).append(record)
    repeats: list[str] = []
    for by_trial in trials.values():
        for number, of_trial in by_trial.items():
            by_trial[number], new = one_run_per_seed(of_trial)
            repeats += new
    choices = {
        cell: _choice(dict(zip(keys, cell, strict=True)), each, others.get(cell, []), tune)
        for cell, each in trials.items()
    }
    runs, n_outdated = [], 0
    for cell, of_cell in others.items():
        names = _names(choices[cell].trial if cell in choices else None)
        for record in of_cell:
            trial = record.choices.get("trial", 0)
            runs += [_named(record, name) for name in names.get(trial, ())]
            n_outdated += trial not in names
    return Tuned(
        tune=tune,
        rule=tune.select[0],
        choices=list(choices.values()),
        runs=runs,
        n_outdated=n_outdated,
        repeats=repeats,
    )


def _cell_keys(firsts: Sequence[Settings], rows: Sequence[str]) -> list[str]:
    """The keys that tell cells apart: of trial 0, since other trials differ in what they chose and what follows it."""
    values = [shared_by_seeds(of_run) for of_run in firsts]
    every_key = list(dict.fromkeys(key for of_run in values for key in of_run))
    own = [key for key in rows if key != "trial"]
    return own + separating_keys(own, values, every_key)


def _choice(values: dict[str, Any], trials: dict[int, list[Record]], others: Sequence[Record], tune: Tune) -> Choice:
    whole = {trial: trials.get(trial, []) for trial in tune.numbers}
    is_spent = all(len(each) == len(tune.seeds) and all(map(has_ended, each)) for each in whole.values())
    rule = tune.select[0]
    key, fresh = against_test(rule), dict[int, list[float]]()
    for record in others:
        if (number := record.metrics.get(key)) is not None:
            fresh.setdefault(record.choices.get("trial", 0), []).append(number)
    return Choice(
        values=values,
        trials=whole,
        scores=scores(whole, rule),
        trial=best_trial(whole, rule) if is_spent else None,
        fresh=fresh,
        is_spent=is_spent,
        sign=direction((record for each in whole.values() for record in each), rule),
    )


def _names(chosen: int | None) -> dict[int, list[str]]:
    """Trial -> what its runs are called in the table. Where the method as it is was chosen, its runs are both."""
    names = {0: [PRESET]}
    if chosen is not None:
        names.setdefault(chosen, []).append(TUNED)
    return names


def _named(record: Record, name: str) -> Record:
    return dataclasses.replace(record, choices=record.choices | {"trial": name}, config=record.config | {"trial": name})


def best_of(numbers: Sequence[float]) -> list[BestOf]:
    """The best of n of these trials for every n, by exact order statistics.

    Of N trials the i-th best (from 0 on) is the best of n with probability C(N-1-i, n-1) / C(N, n). Trials without a
    number come last; draws of such trials alone are left out.

    numbers: of every trial, best first; nan: none
    """
    known = [number for number in numbers if not math.isnan(number)]
    found = []
    for n in range(1, len(numbers) + 1) if known else ():
        chances = [math.comb(len(numbers) - 1 - i, n - 1) for i in range(len(known))]
        mean = sum(chance * number for chance, number in zip(chances, known, strict=True)) / sum(chances)
        low, high = sorted((_quantile(chances, known, LOW), _quantile(chances, known, HIGH)))
        found.append(BestOf(n, mean, low, high))
    return found


def _quantile(chances: Sequence[int], numbers: Sequence[float], share: float) -> float:
    left = share * sum(chances)
    for chance, number in zip(chances, numbers, strict=True):
        left -= chance
        if left <= 0:
            return number
    return numbers[-1]


def is_at_edge(fact: Mapping[str, Any]) -> bool:
    """Whether a value is within 5 % of an end of its range, or the first or last of three or more numbers."""
    if "values" in fact:
        values = fact["values"]
        are_numbers = all(isinstance(value, int | float) for value in values)
        return len(values) > 2 and are_numbers and fact["value"] in (values[0], values[-1])
    return not EDGE <= fact["position"] <= 1 - EDGE


def chosen_rows(summary: Summary) -> Summary:
    """The tuned rows alone, under the names that they have where no others are: what figures show."""
    tuned = [[row for row in scale.rows if row.values["trial"] == TUNED] for scale in summary.scales]
    scales = [
        dataclasses.replace(scale, rows=[dataclasses.replace(row, values=_without_trial(row)) for row in rows])
        for scale, rows in zip(summary.scales, tuned, strict=True)
    ]
    return dataclasses.replace(summary, keys=[key for key in summary.keys if key != "trial"], scales=scales)


def _without_trial(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.values.items() if key != "trial"}


def choices_csv(tuned: Tuned) -> str:
    """A line per cell: what was chosen and by which number, what the method as it is has, and what was spent."""
    lines = [
        {
            **choice.values,
            "trial": choice.trial,
            "settings": json.dumps({key: fact["value"] for key, fact in choice.facts.items()}),
            "at_edge": " ".join(choice.at_edge),
            f"{tuned.rule}.{TUNED}": math.nan if choice.trial is None else choice.scores[choice.trial],
            f"{tuned.rule}.{PRESET}": choice.scores.get(0, math.nan),
            "trials": sum(map(bool, choice.trials.values())),
            "with_a_number": len(choice.scores),
            "seconds": round(choice.seconds, 1),
        }
        for choice in tuned.choices
    ]
    return str(pd.DataFrame(lines).astype({"trial": "Int64"}).to_csv(index=False)) if lines else ""


def best_of_csv(tuned: Tuned) -> str:
    """A line per cell and number of trials: mean and quantiles of the best of so many."""
    lines = [{**choice.values, **best._asdict()} for choice in tuned.choices for best in best_of(choice.searched)]
    return str(pd.DataFrame(lines).to_csv(index=False)) if lines else ""
