"""Where two kinds of features disagree on the order of rows."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from latentbench.records.keys import parse_set
from latentbench.reporting.columns import Column
from latentbench.reporting.significance import (
    LEVEL,
    Difference,
    Spread,
    difference,
    fit_spread,
    mean_and_deviation,
)
from latentbench.reporting.summary import Row, Scale, Summary

SHOWN = 5  # pairs of rows in a note
MIN_ERRORS = 1.9  # no quantile of Student's t for a tail of `LEVEL` / 2 or less is below 1.95


def disagreements(summary: Summary) -> list[str]:
    """A line for two columns of one measure in two kinds of features that order a pair of rows differently.

    Of each pair both differences must be beyond chance. The probability that a line names any pair wrongly is `LEVEL`
    at most: then one of its two differences has the wrong sign, so that each gets `LEVEL` / (2 pairs), one-sided.
    """
    kinds: dict[tuple[str, str, str], list[Column]] = {}
    for column in filter(lambda column: column.is_ranked, summary.columns):
        quantity, _, recorded = column.key.partition("/")
        set_name, view = parse_set(recorded)
        kinds.setdefault((quantity, set_name, view.split), []).append(column)
    pairs = [pair for columns in kinds.values() for pair in itertools.combinations(columns, 2)]
    return [line for one, other in pairs for line in _compare(summary.scales, one, other)]


def _compare(scales: Sequence[Scale], one: Column, other: Column) -> list[str]:
    keys = one.key, other.key
    pairs: list[tuple[Row, Row, dict[str, Spread]]] = []
    n_pairs = 0
    for scale in scales:
        rows = [row for row in scale.rows if row.is_complete and all(len(row.numbers(key)) > 1 for key in keys)]
        spreads = {key: fit_spread(row.numbers(key) for row in rows) for key in keys}
        n_pairs += math.comb(len(rows), 2)
        pairs += [(rows[i], rows[j], spreads) for i, j in _opposite(rows, keys, spreads)]
    found = []
    for a, b, spreads in pairs:
        first, second = (difference(a.numbers(key), b.numbers(key), spreads[key]) for key in keys)
        signs = [_sign(each, LEVEL / (2 * n_pairs)) for each in (first, second)]
        if signs[0] * signs[1] < 0:
            better, worse = (a, b) if (signs[0] > 0) == bool(one.higher_is_better) else (b, a)
            found.append(f"{better.label} before {worse.label}")
    if not found:
        return []
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [
        f"{keys[0]} and {keys[1]} disagree: beyond chance, they order {len(found)} of {n_pairs} pairs of rows in "
        f"opposite ways; by the first {'; '.join(found[:SHOWN])}{more}. What is said of these rows holds in one kind "
        "of features alone"
    ]


def _opposite(rows: Sequence[Row], keys: Sequence[str], spreads: Mapping[str, Spread]) -> Iterator[tuple[int, int]]:
    """The pairs of rows whose means are in opposite orders, each apart by two standard errors or more.

    Few of the pairs of a large table are, and no others are beyond chance.
    """
    columns = []
    for key in keys:
        numbers = [row.numbers(key) for row in rows]
        means = np.array([mean_and_deviation(values)[0] for values in numbers])
        squares = np.array([spreads[key].shrink(values)[0] / len(values) for values in numbers])
        columns.append((means, squares))
    for i in range(len(rows) - 1):
        (first, first_error), (second, second_error) = (
            (means[i] - means[i + 1 :], np.sqrt(squares[i] + squares[i + 1 :])) for means, squares in columns
        )
        is_apart = (abs(first) > MIN_ERRORS * first_error) & (abs(second) > MIN_ERRORS * second_error)
        for j in np.flatnonzero(is_apart & (first * second < 0)):
            yield i, i + 1 + int(j)


def _sign(found: Difference | None, tail: float) -> int:
    """1 or -1 if a difference is beyond chance, else 0."""
    if found is None or abs(found.mean) <= found.half_width(tail):
        return 0
    return 1 if found.mean > 0 else -1
