"""Rows against each other: which is the best, how they rank, and which differ significantly from a baseline."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from latentbench.reporting.columns import Column
from latentbench.reporting.significance import LEVEL, holm, mean_ranks, paired_p_value
from latentbench.reporting.summary import Row, Scale, format_value


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineTests:
    """What was tested.

    baseline: the row or rows that others were tested against, in words
    seeds: the numbers of common seeds that occur
    max_tests: the largest number of tests in one column of one scale
    """

    baseline: str
    seeds: set[int]
    max_tests: int


def mark_best(scales: Sequence[Scale], columns: Sequence[Column]) -> None:
    """Mark the best mean of every column and scale, if it has a direction and two rows or more have a number."""
    for scale in scales:
        for column in columns:
            cells = [row.cells[column.key] for row in scale.rows if not math.isnan(row.cells[column.key].mean)]
            if not column.ranks or len(cells) < 2:
                continue
            means = [cell.mean for cell in cells]
            best = max(means) if column.higher_is_better else min(means)
            for cell in cells:
                cell.is_best = cell.mean == best


def rank_rows(scales: Sequence[Scale], columns: Sequence[Column]) -> set[int]:
    """Give rows their mean ranks; the numbers of columns, one per scale, that these are means over.

    A rank is over the columns in which every row of the scale has a number, two or more; rows without any number have
    no rank and do not count. Over fewer columns than others a good rank would be easier to reach.
    """
    ranking = [column for column in columns if column.ranks]
    signs = np.array([1.0 if column.higher_is_better else -1.0 for column in ranking])
    counts = set()
    for scale in scales:
        means = np.array([[row.cells[column.key].mean for column in ranking] for row in scale.rows])
        has_numbers = ~np.isnan(means).all(axis=1)
        is_full = ~np.isnan(means[has_numbers]).any(axis=0)
        scores = (means * signs)[has_numbers][:, is_full]
        if min(scores.shape) >= 2:
            ranked = [row for row, has_number in zip(scale.rows, has_numbers, strict=True) if has_number]
            for row, rank in zip(ranked, mean_ranks(scores), strict=True):
                row.rank = float(rank)
            counts.add(scores.shape[1])
    return counts


def compare_with_baseline(scales: Sequence[Scale], columns: Sequence[Column], baseline: str) -> BaselineTests | None:
    """Test every row against its baseline and mark what differs; None if no row matches `baseline`.

    A baseline is a row that has the value `baseline` for the first row key in which any row has it. Where a scale has
    several, a row is tested against the one that is alike in all other row keys.
    """
    first = scales[0].rows[0]
    free = [key for key in first.values if key not in first.scale_keys]
    texts = {row: {key: format_value(row.values[key]) for key in free} for scale in scales for row in scale.rows}
    baseline_key = next((key for key in free if any(values[key] == baseline for values in texts.values())), None)
    if baseline_key is None:
        return None
    for scale in scales:
        _assign_baselines(scale.rows, texts, baseline_key, baseline)
    others = [key for key in free if key != baseline_key]
    several = len({row.baseline for row in texts if row.baseline}) > len(scales)
    seeds: set[int] = set()
    max_tests = 0
    for scale in scales:
        for column in columns:
            if not column.key.endswith("/real"):
                tests = _test_column(scale.rows, column.key)
                seeds |= set(tests)
                max_tests = max(max_tests, len(tests))
    words = f"{baseline_key}={baseline}" + f" of the same {' and '.join(others)}" * several
    return BaselineTests(baseline=words, seeds=seeds, max_tests=max_tests)


def _assign_baselines(
    rows: Sequence[Row], texts: Mapping[Row, Mapping[str, str]], baseline_key: str, baseline: str
) -> None:
    baselines = [row for row in rows if texts[row][baseline_key] == baseline]
    for row in rows:
        if row not in baselines:
            alike = [b for b in baselines if {**texts[b], baseline_key: ""} == {**texts[row], baseline_key: ""}]
            if len(baselines) == 1 or alike:
                row.baseline = (alike or baselines)[0]


def _test_column(rows: Sequence[Row], metric: str) -> list[int]:
    """Test a metric of those rows that have a baseline, with Holm's correction; every test's number of common seeds."""
    values = {row: row.by_seed(metric) for row in rows}
    pairs = [(row, row.baseline) for row in rows if row.baseline]
    tests = [paired_p_value(values[row], values[baseline]) for row, baseline in pairs]
    for (row, _), p in zip(pairs, holm([p for p, _ in tests]), strict=True):
        row.cells[metric].p = p
        row.cells[metric].differs = p < LEVEL
    return [n for p, n in tests if not math.isnan(p)]
