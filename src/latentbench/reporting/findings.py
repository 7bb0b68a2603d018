"""The findings of a study in sentences: the best rows, rows that may be the best, and differences from the baseline.

Significant differences from the baseline are those that the table marks. A row may be the best unless, were it the
baseline, the same tests would mark another row as better. A row whose number has a caveat, such as a loose bound, or of
which not all seeds are finished is not judged, only listed.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from latentbench.reporting.columns import MAX_SECONDARY, Column
from latentbench.reporting.significance import LEVEL, Spread, difference, fit_spread
from latentbench.reporting.summary import Row, Scale, Summary

# Metric -> its title, where it is a main measure.
MAIN_TITLES = {
    "fid/prior": "Samples of the prior",
    "fid/gmm": "Samples of a mixture fitted to the latents",
    "fid/reconstruction": "Reconstructions",
    "coverage/prior": "Real images with a prior sample nearby",
    "nll/test": "Likelihood of test images",
}
# Question -> the quantities that answer it; their ratios to real images answer it, too.
QUESTIONS = {
    "How good are the images?": ("fid", "fid_infinity", "kid", "cmmd", "parzen", "parzen_bandwidth"),
    "How many samples look real, and how much of the variety of real images do they cover?": (
        "precision", "density", "recall", "coverage",
    ),
    "How many images show what they should, in the eyes of a classifier?": (
        "class_share", "class_probability", "class_share_noise",
    ),
    "Are they blurred, noisy or copies of training images?": (
        "sharpness", "normalized_sharpness", "high_frequency_energy", "noise", "memorization",
    ),
    "How good are the reconstructions?": ("mse", "psnr", "ssim"),
    "How likely are test images?": ("nll", "nll_ess", "bits_per_dim", "ais", "ais_gap"),
    "What do the latents encode?": (
        "rate", "distortion", "mutual_information", "mutual_information_upper", "marginal_kl", "marginal_kl_lower",
        "total_correlation", "total_correlation_lower", "prior_mmd", "active_units",
    ),
    "Do latent coordinates match known factors?": (
        "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae_score", "sap",
    ),
}  # fmt: skip


NAMED = 5  # rows that a sentence names at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """The finding in one column and scale.

    best: rows with the best mean; none if there are no two rows to judge, or their bounds leave it open
    candidates: judged rows that may be the best, including `best`; ruled_out: all other judged rows
    with_caveat: rows that were not judged, since one of their runs has a caveat or is not finished
    differences: row -> its mean minus the mean of its baseline, for every judged row with a judged baseline
    better, worse: rows that differ significantly from their baseline, those with the best means first
    """

    column: Column
    scale: str
    title: str
    best: list[Row]
    candidates: list[Row]
    ruled_out: list[Row]
    with_caveat: list[Row]
    differences: dict[Row, float]
    better: list[Row]
    worse: list[Row]


def find(summary: Summary) -> list[Finding]:
    """A finding per scale and main column in which two rows have numbers."""
    columns = main_columns(summary)
    findings = [_finding(scale, column) for scale in summary.scales for column in columns]
    return [finding for finding in findings if len(finding.candidates + finding.ruled_out + finding.with_caveat) > 1]


def baseline_name(summary: Summary) -> str:
    """The name of the baseline, or "their baseline" if there are several; empty if nothing is tested."""
    names = {row.baseline.name for row in summary.rows if row.baseline}
    return names.pop() if len(names) == 1 else "their baseline" if names else ""


def headline(summary: Summary, findings: Sequence[Finding]) -> list[str]:
    """A summary of all findings, in sentences."""
    if not findings:
        return ["Nothing to compare: no measure with a better direction has numbers in two rows."]
    single = [
        f"{f.best[0].name} in {_column_name(f)}" for f in findings if len(f.candidates) == 1 and not f.with_caveat
    ]
    measures = "main measures" if len(findings) > 1 else "main measure"
    sentences = [
        f"One row is clearly the best in {len(single)} of {len(findings)} {measures}: {'; '.join(single)}."
        if single
        else f"No row is clearly the best in the {measures}."
    ]
    baseline = baseline_name(summary)
    better = [f for f in findings if f.better]
    for f in better:
        names = _few([row.name for row in f.better])
        sentences.append(f"Significantly better than {baseline} in {_column_name(f)}: {names}.")
    if baseline and not better:
        sentences.append(f"No row is significantly better than {baseline} in the {measures}.")
    if unjudged := [_column_name(f) for f in findings if not f.best]:
        sentences.append(f"Not judged: {_join(unjudged)}. See below why.")
    return sentences


def _column_name(finding: Finding) -> str:
    return f"{finding.column.key} ({finding.scale})" if finding.scale else finding.column.key


def _few(names: Sequence[str]) -> str:
    """The first names, and how many there are beside them."""
    left = len(names) - NAMED
    return _join(names) if left < 2 else _join([*names[:NAMED], f"{left} others"])


def _join(words: Sequence[str]) -> str:
    if any(", " in word for word in words):
        return "; ".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def main_columns(summary: Summary) -> list[Column]:
    """The columns that the study tests; in a table without them the first ones with a direction."""
    ranking = [column for column in summary.columns if column.is_ranked]
    main = sorted((column for column in ranking if column.main), key=lambda column: column.main)
    return main or ranking[: 1 + MAX_SECONDARY]


def sections(summary: Summary) -> dict[str, list[Column]]:
    """Heading -> columns: the main ones, then all of them by the question that they answer."""
    baseline = baseline_name(summary)
    against = f", and differences from {baseline}" if baseline else ""
    sections = {f"Main measures{against}": main_columns(summary)}
    questions = {quantity: question for question, quantities in QUESTIONS.items() for quantity in quantities}
    for column in summary.columns:
        quantity = column.key.split("/")[0].removesuffix("_ratio")
        sections.setdefault(questions.get(quantity, "Other measures"), []).append(column)
    return {heading: columns for heading, columns in sections.items() if columns}


def _finding(scale: Scale, column: Column) -> Finding:
    key = column.key
    numbers = {row: row.numbers(key) for row in scale.rows}
    with_caveat = [row for row, values in numbers.items() if values and (not row.is_complete or row.caveats_of(key))]
    judged = {row: values for row, values in numbers.items() if values and row not in with_caveat}
    means = {row: float(np.mean(values)) for row, values in judged.items()}
    sign = 1.0 if column.higher_is_better else -1.0
    differences = {row: means[row] - means[row.baseline] for row in judged if row.baseline and row.baseline in judged}
    gains = {row: sign * difference for row, difference in differences.items() if row.cells[key].differs}
    by_mean = sorted(gains, key=lambda row: sign * means[row], reverse=True)
    better = [row for row in by_mean if gains[row] > 0]
    worse = [row for row in by_mean if gains[row] < 0]
    # Another row beats this one if it would be marked as better were this one the baseline: the first step of Holm's
    # correction over all rows. What the table itself marks counts, too. Either excludes the true best row with
    # probability `LEVEL` / 2 at most, since marks on its wrong side alone do, so that the candidates include it with
    # 95 % confidence.
    tail = LEVEL / (2 * max(1, sum(map(bool, numbers.values())) - 1))
    spread = fit_spread(numbers.values())
    beaten = {*worse, *(row.baseline for row in better)}
    ruled_out = [
        row
        for row, values in judged.items()
        if row in beaten
        or any(
            _exceeds(judged[other], values, sign, spread, tail)
            for other in judged
            if not row.cells[key].overlaps(other.cells[key])
        )
    ]

    def is_open(row: Row) -> bool:
        return any(row.cells[key].overlaps(other.cells[key]) for other in judged if other is not row)

    highest = max((sign * mean for mean in means.values()), default=0.0)
    return Finding(
        column=column,
        scale=scale.name,
        title=MAIN_TITLES.get(key, key),
        best=[row for row, mean in means.items() if sign * mean == highest and len(judged) > 1 and not is_open(row)],
        candidates=[row for row in judged if row not in ruled_out],
        ruled_out=ruled_out,
        with_caveat=with_caveat,
        differences=differences,
        better=better,
        worse=worse,
    )


def _exceeds(values: Sequence[float], others: Sequence[float], sign: float, spread: Spread, tail: float) -> bool:
    """Whether the mean of `values` is better than that of `others`, by more than chance."""
    found = difference(values, others, spread)
    return found is not None and sign * found.mean > found.half_width(tail)
