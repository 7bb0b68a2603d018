"""What the records of a study say: one row per setting, mean and confidence interval over its seeds.

Nothing but the seed is ever averaged over: what else differs between runs of one row becomes a row key.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats takes a second longer to import

from latentbench.errors import UserError
from latentbench.records.record import Record
from latentbench.reporting import notes
from latentbench.reporting.columns import Column, by_seed, columns_of, floors_of
from latentbench.reporting.grouping import key_of, row_keys, settings, without_repeats
from latentbench.reporting.significance import LEVEL, holm, mean_and_deviation, mean_ranks, paired_p_value

__all__ = ["FLOOR", "Column", "Summary", "label", "mean_interval", "scales", "shown", "summarize"]

CONFIDENCE = 0.95
FLOOR = "floor"  # the status of a row of real images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A study's table.

    table: a row per setting, and one per floor (`status` floor, above the rows it belongs to), with columns
        <row key>…, status, seeds (finished), runs (all), rank (mean over metrics), and <metric>.mean, <metric>.ci95,
        <metric>.n and, where there is a baseline, <metric>.p (of no difference from it, adjusted)
    best: where <metric> is best within its scale, as (index in table, metric)
    partners: index in table -> index of the baseline that the row is tested against, as far as it has one
    different: where <metric> differs from the baseline's by more than chance, as (index in table, metric)
    runs: index in table -> its records, lowest seed first; a floor has none
    """

    keys: list[str]
    scale: list[str]
    columns: list[Column]
    table: pd.DataFrame
    best: set[tuple[int, str]]
    runs: dict[int, list[Record]]
    partners: dict[int, int] = dataclasses.field(default_factory=dict)
    different: set[tuple[int, str]] = dataclasses.field(default_factory=set)
    notes: list[str]


def mean_interval(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, half-width of its 95 % confidence interval, and n.

    t(0.975, n - 1) * s / sqrt(n) with s the sample standard deviation; nan for fewer than two values.
    """
    n = len(values)
    if n < 2:
        return (values[0] if n else math.nan), math.nan, n
    mean, deviation = mean_and_deviation(values)
    return mean, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(n), n


def summarize(
    records: Sequence[Record],
    *,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    order: Mapping[str, Sequence[str]] | None = None,
    baseline: Any = None,
) -> Summary:
    """The table of a study: a row per value of `rows`, a column per metric (None: all that were recorded).

    Rows are sorted, by `order` (row key -> values) where it names a key's values: a study's grid has a meaning.
    Every row is tested against its baseline: the row with that value (None: no test), alike in all else if several are.

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
    shown, unclear = columns_of(records, columns)
    parts = ("mean", "ci95", "n") if baseline is None else ("mean", "ci95", "n", "p")
    summary = _assemble(groups, keys, scale, shown, order or {}, parts)
    ranked = _rank_rows(summary)
    tested = [] if baseline is None else _test_rows(summary, str(baseline))
    named = [(label(summary, i, keys[:1]), label(summary, i), runs) for i, runs in summary.runs.items()]
    of_scales = {name: [run for i in rows for run in summary.runs[i]] for name, rows in scales(summary).items()}
    metrics = [column.key for column in summary.columns]
    summary.notes.extend(
        notes.measured(records) + ranked + tested + notes.unfinished(named) + notes.skipped(named, metrics)
        + notes.warned(named, metrics) + unclear + notes.added(rows, keys) + repeats + notes.versions(records)
        + notes.floors(of_scales, metrics)
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


def _assemble(
    groups: dict[tuple[Any, ...], list[Record]],
    keys: list[str],
    scale: list[str],
    columns: list[Column],
    order: Mapping[str, Sequence[str]],
    parts: Sequence[str],
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
    names = [*keys, "status", "seeds", "runs", "rank"]
    names += [f"{column.key}.{part}" for column in columns for part in parts]
    # object keeps a whole number whole beside the empty cell of a floor
    table = pd.DataFrame(rows, columns=names, dtype=object)
    table = table.astype({name: float for name in names if name.endswith(("rank", ".mean", ".ci95", ".p"))})
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
    for key, (mean, n) in floors_of(finished, [column.key for column in columns]).items():
        row |= {f"{key}.mean": mean, f"{key}.n": n}
    return row


def _best(rows: list[dict[str, Any]], column: Column) -> list[int]:
    """Which rows have the best mean; none if there is nothing to choose from or no direction to choose by."""
    means = [row[f"{column.key}.mean"] for row in rows]
    there = [mean for mean in means if not math.isnan(mean)]
    if not column.ranks or len(there) < 2:
        return []
    best = max(there) if column.higher_is_better else min(there)
    return [index for index, mean in enumerate(means) if mean == best]


def scales(summary: Summary) -> dict[str, list[int]]:
    """Indices of the rows measured on one scale, by its name."""
    found: dict[str, list[int]] = {}
    for index in summary.runs:
        found.setdefault(label(summary, index, summary.scale), []).append(index)
    return found


def _rank_rows(summary: Summary) -> list[str]:
    """Write the rows' mean ranks into the table; a note on them.

    They are over the columns in which every row of the scale that has a number at all has one, two or more: a rank
    among fewer is easier to have.
    """
    ranking = [column for column in summary.columns if column.ranks]
    signs = np.array([1.0 if column.higher_is_better else -1.0 for column in ranking])
    numbers = set()
    for indices in scales(summary).values():
        means = summary.table.loc[indices, [f"{column.key}.mean" for column in ranking]]
        means = means.dropna(how="all").dropna(axis="columns", how="any")
        signs_there = signs[[f"{column.key}.mean" in means.columns for column in ranking]]
        if min(means.shape) >= 2:
            summary.table.loc[means.index, "rank"] = mean_ranks(means.to_numpy() * signs_there)
            numbers.add(means.shape[1])
    return notes.ranked(numbers)


def _test_rows(summary: Summary, baseline: str) -> list[str]:
    """Write what tests against the baseline give into the table and mark what differs; notes on them."""
    free = [key for key in summary.keys if key not in summary.scale]
    named = {index: {key: shown(summary.table.loc[index, key]) for key in free} for index in summary.runs}
    place = next((key for key in free if any(of_row[key] == baseline for of_row in named.values())), None)
    if place is None:
        return notes.untested(baseline, free)
    partners = summary.partners
    partners |= _partners(summary, named, place, baseline)
    several = len(set(partners.values())) > len(scales(summary))
    whose = f"{place}={baseline}" + f" of the same {' and '.join(key for key in free if key != place)}" * several
    values = {
        index: {column.key: by_seed(runs, column.key) for column in summary.columns}
        for index, runs in summary.runs.items()
    }
    pairs: set[int] = set()
    most = 0
    for column in summary.columns:
        for indices in scales(summary).values() if not column.key.endswith("/real") else ():
            rows = [index for index in indices if index in partners]
            found = [paired_p_value(values[i][column.key], values[partners[i]][column.key]) for i in rows]
            tests = [n for p, n in found if not math.isnan(p)]
            pairs |= set(tests)
            most = max(most, len(tests))
            adjusted = holm([p for p, _ in found])
            summary.table.loc[rows, f"{column.key}.p"] = adjusted
            summary.different.update((i, column.key) for i, p in zip(rows, adjusted, strict=True) if p < LEVEL)
    return notes.tested(whose, pairs, most)


def _partners(summary: Summary, named: Mapping[int, Mapping[str, str]], place: str, baseline: str) -> dict[int, int]:
    """The row that each is tested against, as far as there is one; a baseline against none.

    named: row -> key -> value; place: the key whose value is `baseline`.
    """
    partners = {}
    for indices in scales(summary).values():
        bases = [index for index in indices if named[index][place] == baseline]
        for index in set(indices).difference(bases):
            alike = [base for base in bases if {**named[base], place: ""} == {**named[index], place: ""}]
            if len(bases) == 1 or alike:
                partners[index] = (alike or bases)[0]
    return partners


def label(summary: Summary, index: int, keys: Sequence[str] | None = None) -> str:
    """A row's name: its values of `keys` (None: of every row key), numbers with what they are."""
    values = {key: summary.table.loc[index, key] for key in (summary.keys if keys is None else keys)}
    return ", ".join(v if isinstance(v, str) else f"{key}={shown(v)}" for key, v in values.items())


def shown(value: Any) -> str:
    """A row key's value as a reader sees it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
