"""Comparison of rows: the best in each column, mean ranks, and significant differences from a baseline."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from latentbench.records.keys import is_floor
from latentbench.reporting.columns import Column
from latentbench.reporting.grouping import departures_of
from latentbench.reporting.significance import LEVEL, Difference, difference, fit_spread, holm, mean_ranks
from latentbench.reporting.summary import Cell, Row, Scale, format_value


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnTests:
    """What the tests of a main column and scale could see: medians over its rows.

    n: the number of tests
    marked: the measured difference that is marked whatever the other rows do, in the first step of Holm's correction
    visible: the true difference that is as large with probability `POWER`
    """

    column: str
    scale: str
    n: int
    marked: float
    visible: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineTests:
    """The tests against the baseline, for the notes below the table.

    baseline: the description of the row or rows that others were tested against
    columns: those of each main column and scale that have any
    alone: the rows that there is no baseline for
    """

    baseline: str
    columns: list[ColumnTests]
    alone: list[Row]


def mark_best(scales: Sequence[Scale], columns: Sequence[Column]) -> None:
    """Mark the best mean of every column and scale, if it has a direction and two rows or more have a number.

    Rows of which not all seeds are finished, or whose number has a caveat, are left out. A row of which the bounds
    overlap with another's is not the best. Of rows that are all the same, as by what does not depend on the model, none
    is.
    """
    for scale in scales:
        rows = [row for row in scale.rows if row.is_complete]
        for column in columns:
            judged = [row.cells[column.key] for row in rows if not row.caveats_of(column.key)]
            cells = [cell for cell in judged if not math.isnan(cell.mean)]
            if not column.is_ranked or len(cells) < 2:
                continue
            means = [cell.mean for cell in cells]
            if min(means) == max(means):
                continue
            best = max(means) if column.higher_is_better else min(means)
            for cell in cells:
                cell.is_best = cell.mean == best and not any(cell.overlaps(c) for c in cells if c is not cell)


def any_overlap(cells: Sequence[Cell]) -> bool:
    """Whether the bounds of any two cells overlap: sorted, one then begins below the highest end of those before it."""
    ordered = sorted((cell.low, cell.high) for cell in cells if not math.isnan(cell.low))
    highest = itertools.accumulate((high for _, high in ordered), max)
    return any(low < high for (low, _), high in zip(ordered[1:], highest, strict=False))


def rank_rows(scales: Sequence[Scale], columns: Sequence[Column]) -> set[int]:
    """Set the mean rank of every row. Returns: the numbers of columns averaged over, one per scale.

    Only columns in which every row of the scale has a number are averaged over, since ranks over different columns
    cannot be compared, in which no two rows' bounds overlap, and not all numbers are the same. Rows without any number
    are ignored and have no rank, and so are rows of which not all seeds are finished. Ranks need two rows and two
    columns.
    """
    ranking = [column for column in columns if column.is_ranked]
    signs = np.array([1.0 if column.higher_is_better else -1.0 for column in ranking])
    counts = set()
    for scale in scales:
        rows = [row for row in scale.rows if row.is_complete]
        means = np.array([[row.cells[column.key].mean for column in ranking] for row in rows])
        means = means.reshape(len(rows), len(ranking))
        has_numbers = ~np.isnan(means).all(axis=1)
        ranked = [row for row, has_number in zip(rows, has_numbers, strict=True) if has_number]
        is_full = ~np.isnan(means[has_numbers]).any(axis=0)
        is_open = [any_overlap([row.cells[column.key] for row in ranked]) for column in ranking]
        is_same = (means[has_numbers] == means[has_numbers][:1]).all(axis=0)
        scores = (means * signs)[has_numbers][:, is_full & ~is_same & ~np.array(is_open, dtype=bool)]
        if min(scores.shape) >= 2:
            for row, rank in zip(ranked, mean_ranks(scores), strict=True):
                row.rank = float(rank)
            counts.add(scores.shape[1])
    return counts


def compare_with_baseline(
    scales: Sequence[Scale], columns: Sequence[Column], baseline: str, asked: Sequence[str]
) -> BaselineTests | None:
    """The differences of every row from its baseline; marks the significant ones of the main columns.

    The probability of any wrong mark in a main column of a scale is `LEVEL` at most: Holm's correction over its rows.
    A row whose bounds overlap with those of its baseline is not marked. None if no row matches `baseline`.

    The baseline rows have the value `baseline` in the first row key in which any row has that value. If a scale has
    several, a row is tested against the one with the same values of all other row keys. Keys of methods' presets that
    are not `asked` for, such as beta, need not be the same: if none is, the nearest to its preset is the baseline.
    """
    first = scales[0].rows[0]
    keys_within_scale = [key for key in first.values if key not in first.scale_keys]
    texts = {
        row: {key: format_value(row.values[key]) for key in keys_within_scale} for scale in scales for row in scale.rows
    }
    has_baseline = (key for key in keys_within_scale if any(values[key] == baseline for values in texts.values()))
    baseline_key = next(has_baseline, None)
    if baseline_key is None:
        return None
    other_keys = [key for key in keys_within_scale if key != baseline_key]
    presets = {key for row in texts for run in row.runs for key in run.preset}
    of_presets = [key for key in other_keys if key in presets and key not in asked]
    same = [key for key in other_keys if key not in of_presets]
    for scale in scales:
        _assign_baselines(scale.rows, texts, baseline_key, baseline, of_presets)
    has_several = any(sum(texts[row][baseline_key] == baseline for row in scale.rows) > 1 for scale in scales)
    likeness = [f" of the same {' and '.join(same)}"] * bool(same)
    likeness += [f" (of the same {' and '.join(of_presets)} if there is one, else as it usually is)"] * bool(of_presets)
    tests = []
    for scale, column in itertools.product(scales, columns):
        found = [] if is_floor(column.key) else _differences(scale.rows, column.key)
        if column.main and found:
            tests.append(_test(scale, column, found))
    return BaselineTests(
        baseline=f"{baseline_key}={baseline}" + "".join(likeness) * has_several,
        columns=tests,
        alone=[row for row in texts if not row.baseline and texts[row][baseline_key] != baseline],
    )


def _assign_baselines(
    rows: Sequence[Row],
    texts: Mapping[Row, Mapping[str, str]],
    baseline_key: str,
    baseline: str,
    of_presets: Collection[str],
) -> None:
    """Give every other row the only baseline, or the one that is like it in all keys but those of presets.

    Of several the one that is like it in most of these, then the one nearest to its preset; none if two are as near.
    """
    baselines = [row for row in rows if texts[row][baseline_key] == baseline]
    departed = {other: len(departures_of(other.runs[0])) for other in baselines}
    for row in rows:
        if row in departed:
            continue
        unlike = {other: {key for key in texts[row] if texts[row][key] != texts[other][key]} for other in baselines}
        alike = [other for other in baselines if len(baselines) == 1 or unlike[other] <= {baseline_key, *of_presets}]
        distances = {other: (len(unlike[other]), departed[other]) for other in alike}
        nearest = [other for other in alike if distances[other] == min(distances.values())]
        if len(nearest) == 1:
            row.baseline = nearest[0]


def _differences(rows: Sequence[Row], metric: str) -> list[tuple[Cell, Cell, Difference]]:
    """Every row's cell, its baseline's, and the difference, which the cell gets; rows without one are left out."""
    numbers = {row: row.numbers(metric) for row in rows}
    spread = fit_spread(numbers.values())
    found = []
    for row in rows:
        if row.baseline and (of_row := difference(numbers[row], numbers[row.baseline], spread)):
            cell, of_baseline = row.cells[metric], row.baseline.cells[metric]
            if not (cell.is_open or of_baseline.is_open):
                cell.difference, cell.difference_interval = of_row.mean, of_row.half_width()
            found.append((cell, of_baseline, of_row))
    return found


def _test(scale: Scale, column: Column, found: Sequence[tuple[Cell, Cell, Difference]]) -> ColumnTests:
    """Set the p values and the marks of the cells of a column."""
    differences = [of_row for *_, of_row in found]
    for (cell, of_baseline, _), p in zip(found, holm([of_row.p for of_row in differences]), strict=True):
        cell.p, cell.differs = p, p < LEVEL and not cell.overlaps(of_baseline)
    tail = LEVEL / (2 * len(found))  # on either side, the largest that passes Holm's first step
    return ColumnTests(
        column=column.key,
        scale=scale.name,
        n=len(found),
        marked=statistics.median(of_row.half_width(tail) for of_row in differences),
        visible=statistics.median(of_row.visible(tail) for of_row in differences),
    )
