"""Confidence intervals, tests and ranks: pure functions of numbers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import (
    stdtr,
    stdtrit,
)  # the CDF of Student's t and its inverse; importing scipy.stats takes a second longer

CONFIDENCE = 0.95
LEVEL = 0.05  # significance level: the probability of calling a difference significant if there is none


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of two values or more; ten times as fast as numpy for a few values."""
    n = len(values)
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))


def mean_interval(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, half-width of its 95 % confidence interval, and n.

    t(0.975, n - 1) * s / sqrt(n) with s the sample standard deviation; nan for fewer than two values.
    """
    n = len(values)
    if n < 2:
        return (values[0] if n else math.nan), math.nan, n
    mean, deviation = mean_and_deviation(values)
    return mean, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(n), n


def paired_p_value(values: Mapping[int, float], baseline: Mapping[int, float]) -> tuple[float, int]:
    """Two-sided p value of a paired t test over the n seeds that `values` and `baseline` share, and n.

    t = mean(d) / (s / sqrt(n)) with n - 1 degrees of freedom, d the differences and s their standard deviation. nan
    if there are fewer than two pairs or the differences do not vary. Source: Student (1908).
    """
    differences = [values[seed] - baseline[seed] for seed in values.keys() & baseline.keys()]
    n = len(differences)
    if n < 2 or max(differences) - min(differences) <= 1e-12 * max(map(abs, differences)):  # equal up to rounding
        return math.nan, n
    mean, deviation = mean_and_deviation(differences)
    return 2 * float(stdtr(n - 1, -abs(mean / (deviation / math.sqrt(n))))), n


def welch_interval(values: Sequence[float], others: Sequence[float], tail: float) -> float:
    """Half-width of the confidence interval of a difference of two means, with probability `tail` beyond either end.

    The variances may differ. nan if either has fewer than two values, or if neither varies.
    Source: Welch (1947), The generalization of Student's problem.
    """
    if min(len(values), len(others)) < 2:
        return math.nan
    squares = [mean_and_deviation(numbers)[1] ** 2 / len(numbers) for numbers in (values, others)]
    if sum(squares) == 0:
        return math.nan
    freedom = sum(squares) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(squares, (values, others), strict=True))
    return float(stdtrit(freedom, 1 - tail)) * math.sqrt(sum(squares))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for several tests: the probability of any wrong rejection stays below the level.

    Sorted upwards, the i-th of m becomes max over j <= i of min(1, (m - j + 1) p_j); nan means no test and stays nan.
    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    adjusted = [math.nan] * len(p_values)
    tested = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    highest = 0.0
    for position, index in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - position) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def min_standard_errors(n: int, tests: int) -> float:
    """The smallest |mean| / standard error of n differences that passes Holm's first step among `tests` tests."""
    return float(stdtrit(n - 1, 1 - LEVEL / (2 * tests)))


def mean_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each row, averaged over columns; rank 1 is the highest score, and ties share their mean rank.

    Shape: scores (rows, columns), without nan; returns (rows,).
    """
    above = (scores[None] > scores[:, None]).sum(1)
    equal = (scores[None] == scores[:, None]).sum(1)
    ranks: NDArray[np.float64] = (above + (equal + 1) / 2).mean(1)
    return ranks
