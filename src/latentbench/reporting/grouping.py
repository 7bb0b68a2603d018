"""Groups runs into the rows of a table, and rows into comparable scales, by their choices and configs alone."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from latentbench.configuration.catalogue import GROUPS, MULTI_OPTION_GROUPS, SCALARS, preset
from latentbench.configuration.identity import WITHOUT_EFFECT
from latentbench.errors import UserError
from latentbench.records.record import Record

MISSING = "\N{EN DASH}"  # shown for a setting that a run does not have
# Runs with different settings of data, features or metrics are on different scales: their numbers cannot be compared...
SCALE_GROUPS = ("data", "features", "metric")
# ...except that the batch size only affects training, and the list of metrics does not affect their values.
NOT_SCALE = ("data.batch_size", "metric")
# Settings that no method's preset fixes: a comparison of methods is fair only where they are equal.
SHARED_SETTINGS = ("latent_size", "backbone", "likelihood", "trainer", "data.batch_size")

Settings = dict[str, Any]
RowValues = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouping:
    """The runs of a study by table row.

    keys: the row keys; runs with equal values of all of them differ in the seed alone
    scale_keys: the row keys that differ between scales
    runs: row -> its runs, one per seed, lowest seed first; a row is named by its values of `keys`
    repeats: a note on each run that is not counted because it repeats another
    """

    keys: list[str]
    scale_keys: list[str]
    runs: dict[RowValues, list[Record]]
    repeats: list[str]


def group_runs(records: Sequence[Record], rows: Sequence[str]) -> Grouping:
    """Group the runs into rows by the keys `rows` and by every other difference except the seed.

    Raises: UserError if a key of `rows` is in no record.
    """
    every_settings = [settings(record) for record in records]
    _check_rows(rows, every_settings, records)
    keys, scale_keys = _row_keys(rows, every_settings)
    groups: dict[RowValues, list[Record]] = {}
    for record, values in zip(records, every_settings, strict=True):
        groups.setdefault(_values_of(values, keys), []).append(record)
    repeats: list[str] = []
    for values_of_row, runs in groups.items():
        groups[values_of_row], notes = _one_run_per_seed(runs)
        repeats += notes
    return Grouping(keys=keys, scale_keys=scale_keys, runs=groups, repeats=repeats)


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per run: status, every setting (flattened, `trainer.max_epochs`), seconds and metrics."""
    return pd.DataFrame(_frame_row(record) for record in records)


def _frame_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_id": record.run_id,
        "study": record.study,
        "status": record.status,
        "reason": record.reason,
    }
    row |= settings(record) | {"n_parameters": record.n_parameters}
    row |= {f"seconds.{phase}": seconds for phase, seconds in record.seconds.items()}
    return row | record.metrics


def settings(record: Record) -> Settings:
    """Everything that can change a run's result: its choices, then the keys of its config, joined by dots."""
    order = [*GROUPS, *SCALARS]
    chosen = sorted(record.choices, key=lambda key: order.index(key) if key in order else len(order))
    values: Settings = {}
    _flatten({key: record.choices[key] for key in chosen}, values)
    _flatten({key: value for key, value in record.config.items() if key != "resolved"}, values)
    return values


def _flatten(content: dict[str, Any], into: Settings, prefix: str = "") -> None:
    """Add the settings of nested `content` to `into`, without replacing any."""
    for key, value in content.items():
        path = prefix + key
        if isinstance(value, dict) and value:
            _flatten(value, into, f"{path}.")
        elif path not in into and _has_effect(path):
            into[path] = json.dumps(value) if isinstance(value, (list, dict)) else value


@functools.cache  # the records of a study have the same keys
def _has_effect(key: str) -> bool:
    """Whether a setting can change a recorded number."""
    # The lists of samplers and metrics decide which numbers are recorded, but not their values.
    return key not in MULTI_OPTION_GROUPS and not any(
        key == path or key.startswith(f"{path}.") for path in WITHOUT_EFFECT
    )


def _check_rows(rows: Sequence[str], every_settings: list[Settings], records: Sequence[Record]) -> None:
    known = {key for values in every_settings for key in values}
    if not rows:
        raise UserError("table.rows is empty: name at least one choice, such as table.rows=[method]")
    for key in rows:
        if key not in known:
            choices = ", ".join(sorted(known & {name for record in records for name in record.choices}))
            raise UserError(f"table.rows: no record has '{key}'; choose from {choices}, or a key of the config")


def _row_keys(rows: Sequence[str], every_settings: list[Settings]) -> tuple[list[str], list[str]]:
    """The row keys and, of these, the scale keys.

    Row keys are, in this order: `rows`; the scale keys; settings in which a run departs from its method's preset;
    shared settings that differ; and as many other settings as needed for runs of a row to differ in the seed alone.
    """
    # Most runs differ in their seeds alone: one run per setting is enough.
    unique = {tuple(item for item in values.items() if item[0] != "seed"): values for values in every_settings}
    every_settings = list(unique.values())
    every_key = list(dict.fromkeys(key for values in every_settings for key in values if key != "seed"))
    scale_keys = _scale_keys(every_settings, every_key)
    shared = [key for key in every_key if key in SHARED_SETTINGS or key.split(".")[0] in SHARED_SETTINGS]
    differing = [key for key in shared if len(_distinct_values(key, every_settings)) > 1]
    unequal = _separating_keys([], every_settings, differing)
    presets = {method: preset(str(method)) for method in _distinct_values("method", every_settings)}
    in_presets = dict.fromkeys(key for values in presets.values() for key in values)
    overridden = [key for key in in_presets if any(_overrides_preset(key, v, presets) for v in every_settings)]
    keys = list(dict.fromkeys([*rows, *scale_keys, *overridden, *unequal]))
    return keys + _separating_keys(keys, every_settings, every_key), scale_keys


def _distinct_values(key: str, every_settings: list[Settings]) -> set[Any]:
    """The values of `key` without null: a run that has no such part does not differ in it."""
    return {values[key] for values in every_settings if values.get(key) is not None}


def _overrides_preset(key: str, values: Settings, presets: dict[Any, Settings]) -> bool:
    """Whether a run's value of `key` differs from its method's preset."""
    usual = presets.get(values.get("method"), {})
    return values.get(key) is not None and key in usual and values[key] != usual[key]


def _values_of(values: Settings, keys: Sequence[str]) -> RowValues:
    return tuple(values.get(key, MISSING) for key in keys)


def _scale_keys(every_settings: list[Settings], every_key: list[str]) -> list[str]:
    """The settings of data, features and metrics that differ between scales.

    They are always row keys, since each scale has its own floor and best row.
    """
    groups = {key: key.removeprefix("outside.").split(".")[0] for key in every_key}
    candidates = [key for key in every_key if groups[key] in SCALE_GROUPS and key not in NOT_SCALE]
    # A run that did not measure a metric lacks its settings, but is not on another scale for that.
    varying = [key for key in candidates if len({values[key] for values in every_settings if key in values}) > 1]
    return _separating_keys([], every_settings, varying)


def _separating_keys(keys: list[str], every_settings: list[Settings], candidates: list[str]) -> list[str]:
    """The first of `candidates` that must join `keys` so that runs equal in all these are equal in all candidates."""
    added: list[str] = []
    while True:
        groups: dict[RowValues, list[Settings]] = {}
        for values in every_settings:
            groups.setdefault(_values_of(values, keys + added), []).append(values)
        varying = next((key for key in candidates if any(_varies(key, group) for group in groups.values())), None)
        if varying is None:
            return added
        added.append(varying)


def _varies(key: str, group: list[Settings]) -> bool:
    return len({values.get(key, MISSING) for values in group}) > 1


def _one_run_per_seed(runs: list[Record]) -> tuple[list[Record], list[str]]:
    """One run per seed, lowest seed first, a finished one if there is one; a note on each run that is left out."""
    ordered = sorted(runs, key=lambda run: (run.choices["seed"], run.status != "finished"))
    counted: dict[int, Record] = {}
    notes = []
    for run in ordered:
        first = counted.setdefault(run.choices["seed"], run)
        if first is not run:
            notes.append(
                f"{run.run_id} ({run.status}) has the settings and seed of {first.run_id} ({first.status}): "
                "it is not counted"
            )
    return list(counted.values()), notes
