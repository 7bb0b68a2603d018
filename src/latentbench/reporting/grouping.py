"""Groups runs into the rows of a table, and rows into comparable scales, by their choices and configs alone."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from latentbench.configuration.catalogue import MULTI_OPTION_GROUPS
from latentbench.configuration.settings import CLASS, Settings, is_of_measuring, settings, shared_by_seeds
from latentbench.errors import UserError
from latentbench.records.record import Record

MISSING = "\N{EN DASH}"  # shown for a setting that a run does not have
# Runs with different settings of data, features or metrics are on different scales: their numbers cannot be compared...
SCALE_GROUPS = ("data", "features", "metric")
# ...except that batch size and mirrored images only affect training, and the list of metrics does not affect values.
NOT_SCALE = ("data.batch_size", "data.flip", "metric")

RowValues = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouping:
    """The runs of a study by table row.

    keys: the row keys; runs with equal values of all of them differ in the seed alone
    scale_keys: the row keys that differ between scales
    common: settings in which all runs alike depart from their methods' presets
    runs: row -> its runs, one per seed, lowest seed first; a row is named by its values of `keys`
    repeats: a note on each run that is not counted because it repeats another
    """

    keys: list[str]
    scale_keys: list[str]
    common: Settings
    runs: dict[RowValues, list[Record]]
    repeats: list[str]


def group_runs(records: Sequence[Record], rows: Sequence[str]) -> Grouping:
    """Group the runs into rows by the keys `rows` and by every other difference except the seed.

    Raises: UserError if a key of `rows` is in no record.
    """
    every_settings = [settings(record.choices, record.config) for record in records]
    _check_rows(rows, every_settings, records)
    _share_measuring(every_settings)
    overridden = [departures_of(*pair) for pair in zip(records, every_settings, strict=True)]
    some = [key for key in dict.fromkeys(key for keys in overridden for key in keys) if key not in rows]
    common = {
        key: every_settings[0][key]
        for key in some
        if all(key in keys for keys in overridden) and not _varies(key, every_settings)
    }
    distinct = _distinct(records, every_settings)
    unlike = [*(key for key in some if key not in common), *_unequal(distinct)]
    keys, scale_keys = _row_keys(rows, [values for values, _ in distinct], unlike)
    _shorten_classes(keys, every_settings)
    groups: dict[RowValues, list[Record]] = {}
    for record, values in zip(records, every_settings, strict=True):
        groups.setdefault(_values_of(values, keys), []).append(record)
    repeats: list[str] = []
    for values_of_row, runs in groups.items():
        groups[values_of_row], notes = one_run_per_seed(runs)
        repeats += notes
    return Grouping(keys=keys, scale_keys=scale_keys, common=common, runs=groups, repeats=repeats)


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
    row |= settings(record.choices, record.config) | {"n_parameters": record.n_parameters}
    row |= {f"seconds.{phase}": seconds for phase, seconds in record.seconds.items()}
    return row | record.metrics


def _check_rows(rows: Sequence[str], every_settings: list[Settings], records: Sequence[Record]) -> None:
    known = {key for values in every_settings for key in values}
    if not rows:
        raise UserError("table.rows is empty: name at least one choice, such as table.rows=[method]")
    for key in rows:
        if key not in known:
            choices = ", ".join(sorted(known & {name for record in records for name in record.choices}))
            raise UserError(f"table.rows: no record has '{key}'; choose from {choices}, or a key of the config")


def _share_measuring(every_settings: list[Settings]) -> None:
    """Complete the settings of measuring, so that runs which differ only in what was measured are one row.

    A run without a metric or sampler gets its settings from the runs that are the same but for the seed, if they agree.
    """
    if len({frozenset(filter(is_of_measuring, values)) for values in every_settings}) == 1:
        return  # the usual case, and the rest takes half a second for 10,000 runs
    alike: dict[frozenset[tuple[str, Any]], list[Settings]] = {}
    for values in every_settings:
        alike.setdefault(frozenset(shared_by_seeds(values).items()), []).append(values)
    for runs in alike.values():
        measured = [_measured(values) for values in runs]
        for option in {option for each in measured for option in each}:
            found = [each[option] for each in measured if option in each]
            if all(settings_of_option == found[0] for settings_of_option in found):
                for values in runs:
                    values.update(found[0])


def _measured(values: Settings) -> dict[str, Settings]:
    """Metric or sampler, such as `metric.nll`, or features -> the settings of it that a run has."""
    options: dict[str, Settings] = {}
    for key in filter(is_of_measuring, values):
        group, *path = key.split(".")
        option = f"{group}.{path[0]}" if group in MULTI_OPTION_GROUPS else group
        options.setdefault(option, {})[key] = values[key]
    return options


def _distinct(records: Sequence[Record], every_settings: list[Settings]) -> list[tuple[Settings, frozenset[str]]]:
    """The settings of one run of those that differ in the seed alone, as most do, and those that its method chose."""
    fixed = [frozenset((*record.preset, *_of_trial(record))) for record in records]
    unique = {
        (chosen, *(item for item in values.items() if item[0] != "seed")): (values, chosen)
        for values, chosen in zip(every_settings, fixed, strict=True)
    }
    return list(unique.values())


def _row_keys(rows: Sequence[str], distinct: list[Settings], unlike: Sequence[str]) -> tuple[list[str], list[str]]:
    """The row keys and, of these, the scale keys.

    Row keys are, in this order: `rows`; the scale keys; the trial if any run has one; settings in which runs differ
    for no reason of their methods (`unlike`); and as many others as needed for runs of a row to differ in the seed
    alone.
    """
    every_key = list(dict.fromkeys(key for values in distinct for key in values if key != "seed"))
    # The name of an option comes before its class path, which differs as well.
    every_key.sort(key=lambda key: key.endswith(CLASS))
    scale_keys = _scale_keys(distinct, every_key)
    trials = ["trial"] if any(values.get("trial") for values in distinct) else []
    keys = list(dict.fromkeys([*rows, *scale_keys, *trials, *unlike]))
    return keys + separating_keys(keys, distinct, every_key), scale_keys


def _distinct_values(key: str, every_settings: list[Settings]) -> set[Any]:
    """The values of `key` without null: a run that has no such part does not differ in it."""
    return {values[key] for values in every_settings if values.get(key) is not None}


def departures_of(record: Record, values: Settings | None = None) -> list[str]:
    """The settings of a run that differ from its method's preset, and that its trial did not choose.

    values: its settings, where they are known already
    """
    values = settings(record.choices, record.config) if values is None else values
    of_trial = _of_trial(record)
    return [
        key
        for key, usual in record.preset.items()
        if key not in of_trial and values.get(key) is not None and values[key] != usual
    ]


def _unequal(distinct: Sequence[tuple[Settings, frozenset[str]]]) -> list[str]:
    """The settings that differ between runs whose methods leave them open: a comparison is fair only where none does.

    A setting of an option, such as `prior.components`, is compared between runs with the same option.
    distinct: as of `_distinct`
    """
    found: dict[tuple[str, Any], set[Any]] = {}  # setting, option -> its values
    for values, fixed in distinct:
        for key, value in values.items():
            group, dot, _ = key.partition(".")
            is_given = key in fixed or key in ("method", "seed", "trial")
            restates = key.endswith(CLASS) and (group in values or group in fixed)  # the option, by its class
            is_elsewhere = group == "outside" or _is_of_scale(key) or is_of_measuring(key)
            if value is not None and not (is_given or restates or is_elsewhere):
                found.setdefault((key, values.get(group) if dot else None), set()).add(value)
    differing = dict.fromkeys(key for (key, _), different in found.items() if len(different) > 1)
    every_settings = [values for values, _ in distinct]
    return [key for key in differing if not _follows_another(key, every_settings)]


def _follows_another(key: str, every_settings: list[Settings]) -> bool:
    """Whether a setting has the value of `beta` or of the prior's setting of the same name in every run."""
    name = key.rpartition(".")[2]
    runs = [values for values in every_settings if key in values]
    return any(all(values[key] == values.get(other) for values in runs) for other in {name, f"prior.{name}"} - {key})


def _of_trial(record: Record) -> Settings:
    """The settings that the run's trial chose."""
    chosen: Settings = (record.config.get("resolved") or {}).get("trial", {})
    return chosen


def _values_of(values: Settings, keys: Sequence[str]) -> RowValues:
    return tuple(values.get(key, MISSING) for key in keys)


def _scale_keys(every_settings: list[Settings], every_key: list[str]) -> list[str]:
    """The settings of data, features and metrics that differ between scales.

    They are always row keys, since each scale has its own floor and best row.
    """
    candidates = [key for key in every_key if _is_of_scale(key)]
    # A run that did not measure a metric lacks its settings, but is not on another scale for that.
    varying = [key for key in candidates if len({values[key] for values in every_settings if key in values}) > 1]
    return separating_keys([], every_settings, varying)


@functools.cache  # the records of a study have the same keys
def _is_of_scale(key: str) -> bool:
    """Whether numbers of runs that differ in a setting are on different scales."""
    return key.removeprefix("outside.").split(".")[0] in SCALE_GROUPS and key not in NOT_SCALE


def separating_keys(keys: list[str], every_settings: list[Settings], candidates: list[str]) -> list[str]:
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


def _shorten_classes(keys: Sequence[str], every_settings: list[Settings]) -> None:
    """Name classes without their modules, unless two of one key would have the same name."""
    for key in (key for key in keys if key.endswith(CLASS)):
        paths = _distinct_values(key, every_settings)
        names = {path: str(path).rpartition(".")[2] for path in paths}
        if len(set(names.values())) == len(paths):
            for values in every_settings:
                if values.get(key) is not None:
                    values[key] = names[values[key]]


def one_run_per_seed(runs: list[Record]) -> tuple[list[Record], list[str]]:
    """One run per seed, lowest seed first; a note on each run that is left out.

    A finished run counts before others, and the one with the most metrics before other finished ones.
    """
    ordered = sorted(runs, key=lambda run: (run.choices["seed"], run.status != "finished", -len(run.metrics)))
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
