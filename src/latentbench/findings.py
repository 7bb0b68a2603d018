"""What a study's table says in words, and no more: which row is best, which may be, and what differs from a baseline.

Rows are compared by Welch's t on their seeds, whose variances are not taken to be alike. As many rows are compared as
a column has, every test is at its share of 5 % (Bonferroni), so that what is said of one column holds at 95 % together.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from latentbench.errors import UserError
from latentbench.summary import CONFIDENCE, Column, Summary, label, shown

# What a reader wants to know first, and the column that says it.
MAIN = {
    "fid/prior": "Samples of the prior",
    "fid/gmm": "Samples of a mixture fitted to the codes",
    "fid/reconstruction": "Reconstructions",
    "coverage/prior": "Real images that prior samples come near",
    "nll/test": "Likelihood of test images",
}
# The question that a quantity, or its ratio to that of real images, is an answer to.
QUESTIONS = {
    "How good are the images?": ("fid", "fid_infinity", "kid", "parzen", "parzen_bandwidth"),
    "How many of them are good, and how many kinds of real ones are there?": (
        "precision", "density", "recall", "coverage",
    ),
    "Are they blurred, noisy or copies of training images?": (
        "sharpness", "normalized_sharpness", "high_frequency_energy", "noise", "memorization",
    ),
    "How well do images come back?": ("mse", "psnr", "ssim"),
    "How likely are test images?": ("nll", "nll_ess", "bits_per_dim", "ais", "ais_gap"),
    "What do the latents hold?": (
        "rate", "distortion", "mutual_information", "marginal_kl", "total_correlation", "prior_mmd", "active_units",
    ),
    "Do coordinates stand for known factors?": (
        "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae_score", "sap",
    ),
}  # fmt: skip
USUAL_BASELINE = "vae"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two means, with the half-width of its simultaneous 95 % interval (nan: the seeds do not tell)."""

    mean: float
    interval: float

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside the interval."""
        return abs(self.mean) > self.interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A column on one scale; rows are indices in the table.

    best: with the best mean; candidates: that cannot be ruled out as the best, those included; ruled_out: the others
    differences: row -> it less the baseline's mean, of every other row that has the column
    better, worse: clearly so than the baseline (None: there is no such row)
    """

    column: Column
    scale: str
    title: str
    best: list[int]
    candidates: list[int]
    ruled_out: list[int]
    baseline: int | None
    differences: dict[int, Difference]
    better: list[int]
    worse: list[int]


def findings(summary: Summary, *, baseline: str | None = None) -> list[Finding]:
    """A finding per scale and main column that has a best row.

    baseline: a value of a row key, or a row's whole name (None: `vae` where it names one row).
    Raises: UserError if the baseline is not one row of any scale.
    """
    scales: dict[str, list[int]] = {}
    for index in summary.runs:
        scales.setdefault(label(summary, index, summary.scale), []).append(index)
    named = {scale: _baseline(summary, rows, baseline or USUAL_BASELINE) for scale, rows in scales.items()}
    if baseline and not any(found is not None for found in named.values()):
        names = "; ".join(dict.fromkeys(name(summary, index) for index in summary.runs))
        raise UserError(f"table.baseline: '{baseline}' is not one row of the table; its rows are: {names}")
    columns = main_columns(summary)
    found = [
        _finding(summary, column, scale, rows, named[scale]) for scale, rows in scales.items() for column in columns
    ]
    return [finding for finding in found if finding.best]


def headline(summary: Summary, found: Sequence[Finding]) -> list[str]:
    """What the findings say together, in sentences."""
    if not found:
        return ["There is nothing to compare: no measure of which more or less is better has numbers of two rows."]
    single = [f"{name(summary, f.best[0])} in {_where(f)}" for f in found if len(f.candidates) == 1]
    where = f"{len(single)} of {len(found)} main measures: {_listed(single)}" if single else "none of the main measures"
    sentences = [f"The seeds single out a best row in {where}."]
    with_baseline = [f for f in found if f.baseline is not None]
    if with_baseline:
        than = _listed(list(dict.fromkeys(name(summary, f.baseline) for f in with_baseline if f.baseline is not None)))
        better = [f"{_listed([name(summary, i) for i in f.better])} in {_where(f)}" for f in with_baseline if f.better]
        sentences.append(
            f"Clearly better than {than}: {'; '.join(better)}." if better else f"No row is clearly better than {than}."
        )
    return sentences


def _where(finding: Finding) -> str:
    return f"{finding.column.key} ({finding.scale})" if finding.scale else finding.column.key


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def main_columns(summary: Summary) -> list[Column]:
    """The columns of `MAIN` that the table has; where it has none, the first that have a direction."""
    directed = [c for c in summary.columns if c.higher_is_better is not None and not c.key.endswith("/real")]
    by_key = {column.key: column for column in directed}
    return [by_key[key] for key in MAIN if key in by_key] or directed[: len(MAIN)]


def sections(summary: Summary, found: Sequence[Finding]) -> dict[str, list[Column]]:
    """Columns by heading: the main ones, then all of them by the question that they are an answer to."""
    against = next((f", and differences from {name(summary, f.baseline)}" for f in found if f.baseline is not None), "")
    sections = {f"Main measures{against}": main_columns(summary)}
    questions = {stem: question for question, stems in QUESTIONS.items() for stem in stems}
    for column in summary.columns:
        stem = column.key.split("/")[0].removesuffix("_ratio")
        sections.setdefault(questions.get(stem, "Other measures"), []).append(column)
    return {heading: columns for heading, columns in sections.items() if columns}


def name(summary: Summary, index: int) -> str:
    """A row's name beside others of its scale."""
    return label(summary, index, [key for key in summary.keys if key not in summary.scale] or summary.keys)


def _baseline(summary: Summary, rows: Sequence[int], wanted: str) -> int | None:
    """The one of the rows that is called so, or has such a value."""
    called = [index for index in rows if wanted in (name(summary, index), label(summary, index))]
    having = [index for index in rows if wanted in [shown(summary.table.loc[index, key]) for key in summary.keys]]
    found = called or having
    return found[0] if len(found) == 1 else None


def _finding(summary: Summary, column: Column, scale: str, rows: Sequence[int], baseline: int | None) -> Finding:
    values = {
        index: [
            run.metrics[column.key]
            for run in summary.runs[index]
            if run.status == "finished" and column.key in run.metrics
        ]
        for index in rows
    }
    values = {index: numbers for index, numbers in values.items() if numbers}
    sign = 1.0 if column.higher_is_better else -1.0
    share = (1 - CONFIDENCE) / max(1, len(values) - 1)
    # The true best is ruled out only if one of the others wrongly beats it, which each does with its share of 5 %:
    # whichever row it is, the candidates hold it with 95 % confidence.
    ruled_out = [
        index
        for index, own in values.items()
        if any(sign * d.mean > d.interval for d in (welch(other, own, share) for other in values.values()))
    ]
    baseline = baseline if baseline in values else None
    differences = {
        index: welch(own, values[baseline], share / 2)
        for index, own in values.items()
        if baseline is not None and index != baseline
    }
    clear = {index: sign * difference.mean for index, difference in differences.items() if difference.is_clear}
    return Finding(
        column=column,
        scale=scale,
        title=MAIN.get(column.key, column.key),
        best=[index for index in values if (index, column.key) in summary.best],
        candidates=[index for index in values if index not in ruled_out],
        ruled_out=ruled_out,
        baseline=baseline,
        differences=differences,
        better=[index for index, gain in clear.items() if gain > 0],
        worse=[index for index, gain in clear.items() if gain < 0],
    )


def welch(values: Sequence[float], others: Sequence[float], tail: float) -> Difference:
    """Mean of the values less that of the others, and what t leaves a probability of `tail` beyond (Welch 1947).

    The interval is nan with fewer than two of either, or if neither varies: nothing then tells what seeds do.
    """
    mean = float(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2:
        return Difference(mean=mean, interval=math.nan)
    squares = [float(np.var(numbers, ddof=1)) / len(numbers) for numbers in (values, others)]
    if sum(squares) == 0:
        return Difference(mean=mean, interval=math.nan)
    freedom = sum(squares) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(squares, (values, others), strict=True))
    return Difference(mean=mean, interval=float(stdtrit(freedom, 1 - tail)) * math.sqrt(sum(squares)))
