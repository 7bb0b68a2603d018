"""Comparison of rows: the best in each column, mean ranks, and significant differences from a baseline."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from latentbench.reporting.columns import Column
from latentbench.reporting.significance import LEVEL, holm, mean_ranks, paired_p_value
from latentbench.reporting.summary import Row, Scale, format_value


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineTests:
    """The tests against the baseline, for the note below the table.

    baseline: the description of the row or rows that others were tested against
    seed_counts: every number of common seeds in these tests
    max_tests: the largest number of tests in one column of one scale
    """

    baseline: str
    seed_counts: set[int]
    max_tests: int


def mark_best(scales: Sequence[Scale], columns: Sequence[Column]) -> None:
    """Mark the best mean of every column and scale, if it has a direction and two rows or more have a number."""
    for scale in scales:
        for column in columns:
            cells = [row.cells[column.key] for row in scale.rows if not math.isnan(row.cells[column.key].mean)]
            if not column.is_ranked or len(cells) < 2:
                continue
            means = [cell.mean for cell in cells]
            best = max(means) if column.higher_is_better else min(means)
            for cell in cells:
                cell.is_best = cell.mean == best


def rank_rows(scales: Sequence[Scale], columns: Sequence[Column]) -> set[int]:
    """Set the mean rank of every row. Returns: the numbers of columns averaged over, one per scale.

    Only columns in which every row of the scale has a number are averaged over, since ranks over different columns
    cannot be compared; rows without any number are ignored and have no rank. Ranks need two rows and two columns.
    """
    ranking = [column for column in columns if column.is_ranked]
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
    """Test every row against its baseline and mark significant differences; None if no row matches `baseline`.

    The baseline rows have the value `baseline` in the first row key in which any row has that value. If a scale has
    several, a row is tested against the one with the same values of all other row keys.
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
    for scale in scales:
        _assign_baselines(scale.rows, texts, baseline_key, baseline)
    other_keys = [key for key in keys_within_scale if key != baseline_key]
    has_several = len({row.baseline for row in texts if row.baseline}) > len(scales)
    seed_counts: set[int] = set()
    max_tests = 0
    for scale in scales:
        for column in columns:
            if not column.key.endswith("/real"):
                tests = _test_column(scale.rows, column.key)
                seed_counts |= set(tests)
                max_tests = max(max_tests, len(tests))
    description = f"{baseline_key}={baseline}" + f" of the same {' and '.join(other_keys)}" * has_several
    return BaselineTests(baseline=description, seed_counts=seed_counts, max_tests=max_tests)


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
    """Test a metric of all rows that have a baseline, with Holm's correction.

    Returns: the number of common seeds of each test.
    """
    values = {row: row.by_seed(metric) for row in rows}
    pairs = [(row, row.baseline) for row in rows if row.baseline]
    tests = [paired_p_value(values[row], values[baseline]) for row, baseline in pairs]
    for (row, _), p in zip(pairs, holm([p for p, _ in tests]), strict=True):
        row.cells[metric].p = p
        row.cells[metric].differs = p < LEVEL
    return [n for p, n in tests if not math.isnan(p)]
