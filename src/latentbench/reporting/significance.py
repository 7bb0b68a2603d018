"""Confidence intervals, tests and ranks: pure functions of numbers."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

# CDFs (stdtr: of Student's t) and their inverses (fdtri: of F); importing scipy.stats takes a second longer.
from scipy.special import fdtri, nctdtrinc, polygamma, psi, stdtr, stdtrit

CONFIDENCE = 0.95
LEVEL = 0.05  # significance level: the probability of calling a difference significant if there is none
POWER = 0.8  # the probability of calling a difference significant that a study could have seen
MIN_ROWS = 3  # whose variances can say how much variances scatter
NOISY = 0.05  # a row is noisier than others of its column if chance makes it so more rarely


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """How the variances of rows scatter around a common one: as scaled inverse chi-squared variables.

    variance, freedom: the common variance and its weight in degrees of freedom; inf if the rows' variances differ by no
        more than chance, 0 if there are too few rows to tell
    total: the degrees of freedom of all rows
    """

    variance: float
    freedom: float
    total: int

    def shrink(self, values: Sequence[float]) -> tuple[float, float]:
        """The variance of a row, shrunk towards the common one, and its degrees of freedom.

        (d0 s0^2 + d s^2) / (d0 + d) and d0 + d, with d = n - 1 and s^2 the row's own. Source: Smyth (2004), equation 3.
        A row whose s^2 exceeds s0^2 by an F test at the level `NOISY` keeps s^2 and d: it alone among rows that are
        alike would be marked too often, and its intervals would be too narrow.
        """
        own, d = mean_and_deviation(values)[1] ** 2, len(values) - 1
        # False without a common variance, where the quantile is nan.
        if own > self.variance * fdtri(d, min(self.freedom, self.total), 1 - NOISY):
            return own, d
        if math.isinf(self.freedom):
            return self.variance, self.total
        return (self.freedom * self.variance + d * own) / (self.freedom + d), min(self.freedom + d, self.total)


def fit_spread(rows: Iterable[Sequence[float]]) -> Spread:
    """Estimate the scatter of variances from the values of rows; rows of fewer than two values do not count.

    The mean and the variance of log s^2 over rows give the common variance and its degrees of freedom.
    Source: Smyth (2004), Linear models and empirical Bayes methods, section 6.2.
    """
    squares = [(mean_and_deviation(values)[1] ** 2, len(values) - 1) for values in rows if len(values) > 1]
    total = sum(d for _, d in squares)
    half = np.array([d / 2 for square, d in squares if square > 0])
    if len(half) < MIN_ROWS:
        return Spread(variance=0.0, freedom=0.0, total=total)
    logs = np.log([square for square, _ in squares if square > 0]) - psi(half) + np.log(half)
    excess = float(logs.var(ddof=1) - polygamma(1, half).mean())
    if excess <= 0:
        return Spread(variance=sum(d * square for square, d in squares) / total, freedom=math.inf, total=total)
    half_freedom = _inverse_trigamma(excess)
    variance = math.exp(logs.mean() + psi(half_freedom) - math.log(half_freedom))
    return Spread(variance=variance, freedom=2 * half_freedom, total=total)


def _inverse_trigamma(value: float) -> float:
    """The x > 0 at which the derivative of psi is `value`: Newton's method, monotone from this start (Smyth 2004)."""
    x, step = 0.5 + 1 / value, math.inf
    while abs(step) > 1e-9 * x:
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
    return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of two means, its standard error and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The two-sided p value of a t test."""
        return 2 * float(stdtr(self.freedom, -abs(self.mean / self.error)))

    def half_width(self, tail: float = (1 - CONFIDENCE) / 2) -> float:
        """Half-width of the confidence interval with probability `tail` beyond either end."""
        return float(stdtrit(self.freedom, 1 - tail)) * self.error

    def visible(self, tail: float) -> float:
        """The true difference that exceeds `half_width(tail)` with probability `POWER`, at this standard error.

        Under it the ratio of mean and error is Student's t of a noncentrality, which is sought.
        """
        return float(nctdtrinc(self.freedom, 1 - POWER, stdtrit(self.freedom, 1 - tail))) * self.error


def difference(values: Sequence[float], baseline: Sequence[float], spread: Spread) -> Difference | None:
    """The mean of a row minus that of its baseline; None with fewer than two values in either, or if neither varies.

    Seeds are not paired: they have no common effect on two methods. Variances are shrunk, but the baseline's is not
    taken below its own, since it takes part in every test. Degrees of freedom are Welch's, at most those of the row
    with more. docs/statistics.md shows by simulation that such tests keep their level.
    """
    if min(len(values), len(baseline)) < 2:
        return None
    variance, freedom = spread.shrink(values)
    of_baseline, freedom_of_baseline = spread.shrink(baseline)
    mean, deviation = mean_and_deviation(baseline)
    if deviation**2 > of_baseline:
        of_baseline, freedom_of_baseline = deviation**2, len(baseline) - 1
    squares = variance / len(values), of_baseline / len(baseline)
    error = math.sqrt(sum(squares))
    if error <= 1e-12 * max(map(abs, (*values, *baseline))):  # equal up to rounding
        return None
    # Of shares of the sum, whose powers are neither too large nor too small for a number.
    share, of_baseline_share = (square / sum(squares) for square in squares)
    welch = 1 / (share**2 / freedom + of_baseline_share**2 / freedom_of_baseline)
    return Difference(
        mean=mean_and_deviation(values)[0] - mean, error=error, freedom=min(welch, max(freedom, freedom_of_baseline))
    )


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


def mean_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each row, averaged over columns; rank 1 is the highest score, and ties share their mean rank.

    Shape: scores (rows, columns), without nan; returns (rows,).
    """
    above = (scores[None] > scores[:, None]).sum(1)
    equal = (scores[None] == scores[:, None]).sum(1)
    ranks: NDArray[np.float64] = (above + (equal + 1) / 2).mean(1)
    return ranks
