"""Which runs may be compared with which, told from their choices and configs alone."""

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from latentbench.configuration.catalogue import GROUPS, LISTED, SCALARS, preset
from latentbench.configuration.identity import WITHOUT_EFFECT
from latentbench.records.record import Record

MISSING = "\N{EN DASH}"  # of a setting that a run does not have
# Two runs whose images, features or metrics were set up differently are not measured on one scale...
YARDSTICK = ("data", "features", "metric")
# ...except for what says how to train and for which metrics were asked.
NOT_YARDSTICK = ("data.batch_size", "metric")
# What no method sets: rows that differ in it were not given the same means.
MEANS = ("latent_size", "backbone", "likelihood", "trainer", "data.batch_size")


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per run: status, every setting (flattened, `trainer.max_epochs`), seconds and metrics."""
    return pd.DataFrame(
        {"run_id": record.run_id, "study": record.study, "status": record.status, "reason": record.reason}
        | settings(record)
        | {"n_parameters": record.n_parameters}
        | {f"seconds.{phase}": seconds for phase, seconds in record.seconds.items()}
        | record.metrics
        for record in records
    )


def settings(record: Record) -> dict[str, Any]:
    """All that can change a run's result: its choices, then the keys of its config, joined by dots."""
    order = [*GROUPS, *SCALARS]
    chosen = sorted(record.choices, key=lambda key: order.index(key) if key in order else len(order))
    values: dict[str, Any] = {}
    _flatten({key: record.choices[key] for key in chosen}, values)
    _flatten({key: value for key, value in record.config.items() if key != "resolved"}, values)
    return values


@functools.cache  # the records of a study have the same keys
def _has_effect(key: str) -> bool:
    """Whether a setting can change a number that is there."""
    # Which samplers and metrics were asked for changes no number that is there.
    return key not in LISTED and not any(key == path or key.startswith(f"{path}.") for path in WITHOUT_EFFECT)


def _flatten(content: dict[str, Any], into: dict[str, Any], prefix: str = "") -> None:
    """Add the settings that are not there yet."""
    for key, value in content.items():
        path = prefix + key
        if isinstance(value, dict) and value:
            _flatten(value, into, f"{path}.")
        elif path not in into and _has_effect(path):
            into[path] = json.dumps(value) if isinstance(value, (list, dict)) else value


def row_keys(rows: Sequence[str], settled: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The keys after which runs alike in all of them differ in the seed alone; those that tell scales apart.

    They are `rows`; what tells scales apart; where runs were not given the same means or were set otherwise than their
    method's preset, that; and the fewest others, choices first.
    """
    # seeds aside most runs are alike, and one of them tells as much as all
    settled = list({tuple(item for item in values.items() if item[0] != "seed"): values for values in settled}.values())
    every = list(dict.fromkeys(key for values in settled for key in values if key != "seed"))
    scale = _scale(settled, every)
    means = [key for key in every if key in MEANS or key.split(".")[0] in MEANS]
    unlike = _differing([], settled, [key for key in means if len(_given(key, settled)) > 1])
    presets = {method: preset(str(method)) for method in _given("method", settled)}
    # rows in which what the method sets was set otherwise are not that method's
    set_by_methods = dict.fromkeys(key for usual in presets.values() for key in usual)
    otherwise = [key for key in set_by_methods if any(_departs(key, values, presets) for values in settled)]
    keys = list(dict.fromkeys([*rows, *scale, *otherwise, *unlike]))
    return keys + _differing(keys, settled, every), scale


def _given(key: str, settled: list[dict[str, Any]]) -> set[Any]:
    """The values of `key` that runs have: a run without such a part differs in nothing."""
    return {values[key] for values in settled if values.get(key) is not None}


def _departs(key: str, values: dict[str, Any], presets: dict[Any, dict[str, Any]]) -> bool:
    """Whether a run's part is another than its method stands for."""
    usual = presets.get(values.get("method"), {})
    return values.get(key) is not None and key in usual and values[key] != usual[key]


def key_of(values: dict[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    """A run's values of `keys`."""
    return tuple(values.get(key, MISSING) for key in keys)


def _scale(settled: list[dict[str, Any]], every: list[str]) -> list[str]:
    """The settings that tell apart the scales on which runs were measured: data sets, features, metrics.

    They are row keys even where they differ between rows only: such rows share no floor and no best value.
    """
    yardstick = [key for key in every if key.split(".")[0] in YARDSTICK and key not in NOT_YARDSTICK]
    # a run that was not asked for a metric is no other scale: only what is there can differ
    varying = [key for key in yardstick if len({values[key] for values in settled if key in values}) > 1]
    return _differing([], settled, varying)


def _differing(keys: list[str], settled: list[dict[str, Any]], candidates: list[str]) -> list[str]:
    """Those of `candidates`, taken in order, after which runs alike in `keys` are alike in all of them."""
    added: list[str] = []
    while True:
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for values in settled:
            groups.setdefault(key_of(values, keys + added), []).append(values)
        found = next((key for key in candidates if any(_varies(key, group) for group in groups.values())), None)
        if found is None:
            return added
        added.append(found)


def _varies(key: str, group: list[dict[str, Any]]) -> bool:
    return len({values.get(key, MISSING) for values in group}) > 1


def without_repeats(runs: list[Record]) -> tuple[list[Record], list[str]]:
    """One run per seed, lowest seed first: the first finished one; the others are named in a note."""
    ordered = sorted(runs, key=lambda run: (run.choices["seed"], run.status != "finished"))
    kept: dict[int, Record] = {}
    notes = []
    for run in ordered:
        first = kept.setdefault(run.choices["seed"], run)
        if first is not run:
            notes.append(
                f"{run.run_id} ({run.status}) repeats {first.run_id} ({first.status}), nothing differing: "
                "it is not counted"
            )
    return list(kept.values()), notes
