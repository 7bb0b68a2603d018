"""What the records of a study say: one row per setting, mean and confidence interval over its seeds.

Nothing but the seed is ever averaged over: what else differs between runs of one row becomes a row key.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats takes a second longer to import

from latentbench.comparison import key_of, row_keys, settings, without_repeats
from latentbench.errors import UserError
from latentbench.record import Record

CONFIDENCE = 0.95
FLOOR = "floor"  # the status of a row of real images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A metric of the table; `higher_is_better` is None if neither direction is."""

    key: str
    units: str = ""
    higher_is_better: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A study's table.

    table: a row per setting, and one per floor (`status` floor, above the rows it belongs to), with columns
        <row key>…, status, seeds (finished), runs (all), and <metric>.mean, <metric>.ci95, <metric>.n
    best: where <metric> is best within its scale, as (index in table, metric)
    runs: index in table -> its records, lowest seed first; a floor has none
    """

    keys: list[str]
    scale: list[str]
    columns: list[Column]
    table: pd.DataFrame
    best: set[tuple[int, str]]
    runs: dict[int, list[Record]]
    notes: list[str]


def mean_interval(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, half-width of its 95 % confidence interval, and n.

    t(0.975, n - 1) * s / sqrt(n) with s the sample standard deviation; nan for fewer than two values.
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2:
        return mean, math.nan, n
    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(n), n


def summarize(
    records: Sequence[Record],
    *,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    order: Mapping[str, Sequence[str]] | None = None,
) -> Summary:
    """The table of a study: a row per value of `rows`, a column per metric (None: all that were recorded).

    Rows are sorted, by `order` (row key -> values) where it names a key's values: a study's grid has a meaning.

    Raises: UserError if a key of `rows` is in no record.
    """
    settled = [settings(record) for record in records]
    _check_rows(rows, settled, records)
    keys, scale = row_keys(rows, settled)
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record, values in zip(records, settled, strict=True):
        groups.setdefault(key_of(values, keys), []).append(record)
    repeats = []
    for of_row, runs in groups.items():
        groups[of_row], repeated = without_repeats(runs)
        repeats += repeated
    shown, unclear = _columns(records, columns)
    summary = _assemble(groups, keys, scale, shown, order or {})
    summary.notes.extend(
        _measured_notes(records) + _unfinished_notes(summary) + _skipped_notes(summary) + _warning_notes(summary)
        + unclear + _added_note(rows, keys) + repeats + _version_notes(records) + _floor_notes(summary)
    )  # fmt: skip
    return summary


def _check_rows(rows: Sequence[str], settled: list[dict[str, Any]], records: Sequence[Record]) -> None:
    known = {key for values in settled for key in values}
    if not rows:
        raise UserError("table.rows is empty: name at least one choice, such as table.rows=[method]")
    for key in rows:
        if key not in known:
            choices = ", ".join(sorted(known & {name for record in records for name in record.choices}))
            raise UserError(f"table.rows: no record has '{key}'; there are: {choices}, and the config's keys")


def _columns(records: Sequence[Record], wanted: Sequence[str] | None) -> tuple[list[Column], list[str]]:
    """The columns that some record has or says why not, and a note on those that none has."""
    recorded = {key for record in records for key in record.metrics}
    known = recorded | {key for record in records for key in record.skipped}
    keys = sorted(recorded, key=lambda key: key.split("/")) if wanted is None else list(dict.fromkeys(wanted))
    absent = [key for key in keys if key not in known]
    notes = []
    if absent and recorded:
        there = ", ".join(sorted(recorded))
        notes = [f"no record has {', '.join(absent)} (table.columns); there are: {there}"]
        keys = [key for key in keys if key in known]
    columns, unclear = [], []
    for key in keys:
        facts = _facts(records, key.split("/")[0])
        if len(facts) > 1:
            unclear.append(f"the records disagree on units or direction of {key}: its best is not marked")
        units, direction = facts[0] if len(facts) == 1 else ("", None)
        columns.append(Column(key=key, units=units, higher_is_better=direction))
    return columns, notes + unclear


def _facts(records: Sequence[Record], stem: str) -> list[tuple[str, bool | None]]:
    """Units and direction of a metric, as often as the records disagree on them."""
    described = [((record.config.get("resolved") or {}).get("metrics") or {}).get(stem) for record in records]
    facts = [(str(fact.get("units") or ""), fact.get("higher_is_better")) for fact in described if fact]
    return list(dict.fromkeys(facts))


def _assemble(
    groups: dict[tuple[Any, ...], list[Record]],
    keys: list[str],
    scale: list[str],
    columns: list[Column],
    order: Mapping[str, Sequence[str]],
) -> Summary:
    """Rows sorted by scale, then by key, each scale headed by its floor; the best of each marked."""
    positions = [keys.index(key) for key in scale]
    blocks: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    places = {(key, value): place for key, values in order.items() for place, value in enumerate(values)}

    def rank(values: tuple[Any, ...]) -> list[Any]:
        settled = zip(keys, values, strict=True)
        return [(places.get((key, str(value)), math.inf), _rank(value)) for key, value in settled]

    for values in sorted(groups, key=rank):
        blocks.setdefault(tuple(values[i] for i in positions), []).append(values)
    rows: list[dict[str, Any]] = []
    best: set[tuple[int, str]] = set()
    runs: dict[int, list[Record]] = {}
    for of_scale, settled in sorted(blocks.items(), key=lambda item: [_rank(value) for value in item[0]]):
        floor = _floor([run for values in settled for run in groups[values]], columns)
        if any(f"{column.key}.mean" in floor for column in columns):
            rows.append(dict.fromkeys(keys) | dict(zip(scale, of_scale, strict=True)) | floor)
        start = len(rows)
        for values in settled:
            runs[len(rows)] = groups[values]
            rows.append(dict(zip(keys, values, strict=True)) | _statistics(groups[values], columns))
        best |= {(start + i, c.key) for c in columns for i in _best(rows[start:], c)}
    names = [*keys, "status", "seeds", "runs"]
    names += [f"{column.key}.{part}" for column in columns for part in ("mean", "ci95", "n")]
    # object keeps a whole number whole beside the empty cell of a floor
    table = pd.DataFrame(rows, columns=names, dtype=object)
    table = table.astype({name: float for name in names if name.endswith((".mean", ".ci95"))})
    counts = [name for name in names if name.endswith(".n")]
    table[counts] = table[counts].astype(float).fillna(0)
    table = table.astype(dict.fromkeys(["seeds", "runs", *counts], int))
    return Summary(keys=keys, scale=scale, columns=columns, table=table, best=best, runs=runs, notes=[])


def _rank(value: Any) -> tuple[bool, float, str]:
    """Orders numbers before words, and each among themselves."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, "" if number else str(value)


def _statistics(runs: list[Record], columns: list[Column]) -> dict[str, Any]:
    finished = [run for run in runs if run.status == "finished"]
    status = "finished" if finished else "/".join(sorted({run.status for run in runs}))
    row: dict[str, Any] = {"status": status, "seeds": len(finished), "runs": len(runs)}
    for column in columns:
        values = [run.metrics[column.key] for run in finished if column.key in run.metrics]
        for part, number in zip(("mean", "ci95", "n"), mean_interval(values), strict=True):
            row[f"{column.key}.{part}"] = number
    return row


def _floor(runs: list[Record], columns: list[Column]) -> dict[str, Any]:
    """What real images score: the mean of `stem/real` over all finished runs, and 1 for a ratio to it."""
    finished = [run for run in runs if run.status == "finished"]
    seeds = {run.choices["seed"] for run in finished}
    row: dict[str, Any] = {"status": FLOOR, "seeds": len(seeds), "runs": 0}
    for column in columns:
        stem = column.key.split("/")[0]
        values = [run.metrics[f"{stem}/real"] for run in finished if f"{stem}/real" in run.metrics]
        if values:
            row |= {f"{column.key}.mean": float(np.mean(values)), f"{column.key}.n": len(values)}
        elif stem.endswith("_ratio") and any(column.key in run.metrics for run in finished):
            row |= {f"{column.key}.mean": 1.0}
    return row


def _best(rows: list[dict[str, Any]], column: Column) -> list[int]:
    """Which rows have the best mean; none if there is nothing to choose from or no direction to choose by."""
    means = [row[f"{column.key}.mean"] for row in rows]
    there = [mean for mean in means if not math.isnan(mean)]
    if column.higher_is_better is None or column.key.endswith("/real") or len(there) < 2:
        return []
    best = max(there) if column.higher_is_better else min(there)
    return [index for index, mean in enumerate(means) if mean == best]


def _measured_notes(records: Sequence[Record]) -> list[str]:
    """What Frechet distances were measured in and how many images each set had: they mean nothing without."""
    facts = [record.config.get("resolved") or {} for record in records]
    measured = {(fact["features"], fact["images_per_set"]) for fact in facts if "images_per_set" in fact}
    return [
        f"FID: features {features}, {count} images of every set against {count} test images"
        for features, count in sorted(measured)
    ]


def _unfinished_notes(summary: Summary) -> list[str]:
    """A line per method and reason of the runs that were refused or failed."""
    runs = [run for of_row in summary.runs.values() for run in of_row if run.status != "finished"]
    counts = Counter((run.status, run.choices.get("method"), run.reason or "no reason given") for run in runs)
    return [
        f"{status}: method={method}, {_count(n, 'run')}: {reason}"
        for (status, method, reason), n in sorted(counts.items(), key=str)
    ]


def _skipped_notes(summary: Summary) -> list[str]:
    """A line per reason and rows, naming the metrics that those rows do not have."""
    rows: dict[tuple[str, str], dict[str, None]] = {}
    for column in summary.columns:
        for index, runs in summary.runs.items():
            for run in runs:
                if column.key in run.skipped:
                    rows.setdefault((run.skipped[column.key], column.key), {})[label(summary, index)] = None
    metrics: dict[tuple[str, str], list[str]] = {}
    for (reason, key), labels in rows.items():
        metrics.setdefault((reason, "; ".join(labels)), []).append(key)
    return [f"skipped: {', '.join(keys)} of {labels}: {reason}" for (reason, labels), keys in metrics.items()]


def _warning_notes(summary: Summary) -> list[str]:
    """A line per column that some runs warn of, with those rows and what the first of the runs says."""
    notes = []
    for key in [column.key for column in summary.columns]:
        texts: dict[str, str] = {}
        for index, runs in summary.runs.items():
            for run in runs:
                if key in run.warnings:
                    texts.setdefault(label(summary, index), run.warnings[key])
        if texts:
            notes.append(f"mind {key} of {'; '.join(texts)}: {next(iter(texts.values()))}")
    return notes


def label(summary: Summary, index: int, keys: Sequence[str] | None = None) -> str:
    """A row's name: its values of `keys` (None: of every row key), numbers with what they are."""
    values = {key: summary.table.loc[index, key] for key in (summary.keys if keys is None else keys)}
    return ", ".join(v if isinstance(v, str) else f"{key}={shown(v)}" for key, v in values.items())


def shown(value: Any) -> str:
    """A row key's value as a reader sees it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _added_note(rows: Sequence[str], keys: list[str]) -> list[str]:
    added = keys[len(rows) :]
    if not added:
        return []
    return [f"runs differ in {', '.join(added)} too: shown beside {', '.join(rows)}, not averaged over"]


def _version_notes(records: Sequence[Record]) -> list[str]:
    """A line where the records come from different versions of latentbench or of its source."""
    commits = [str(record.environment.get("git_commit") or "unknown")[:10] for record in records]
    versions = [str((record.environment.get("packages") or {}).get("latentbench") or "unknown") for record in records]
    notes = []
    for name, found in (("latentbench versions", versions), ("git commits", commits)):
        counts = Counter(found)
        if len(counts) > 1:
            listed = ", ".join(f"{value} ({_count(count, 'run')})" for value, count in sorted(counts.items()))
            notes.append(f"the records come from {len(counts)} {name}: {listed}")
    return notes


def _floor_notes(summary: Summary) -> list[str]:
    """Runs of one scale and seed saw the same real images: where their floors differ, their setup did."""
    stems = {column.key.split("/")[0] for column in summary.columns}
    floors: dict[tuple[Any, ...], list[float]] = {}
    for index, runs in summary.runs.items():
        scale = tuple(summary.table.loc[index, key] for key in summary.scale)
        for run in runs:
            for stem in stems:
                if f"{stem}/real" in run.metrics:
                    key = (stem, *scale, run.choices["seed"])
                    floors.setdefault(key, []).append(run.metrics[f"{stem}/real"])
    differing = {key[0] for key, values in floors.items() if np.ptp(values) > 0.01 * max(map(abs, values))}
    return [f"runs of one seed differ in {stem}/real: they may not compare" for stem in sorted(differing)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
