"""What a study's table says in words, and no more: which row is best, which may be, and what differs from a baseline.

Differences from the baseline are those that the table marks: paired by seed, with Holm's correction. Which rows may be
the best is asked without a baseline too, by Welch's t on their seeds: pairs of three seeds could rule out next to
nothing. Nothing is said of a row whose number a run warns of, such as a loose bound: it is named beside the others.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from latentbench.reporting.columns import Column, by_seed
from latentbench.reporting.significance import LEVEL, welch_interval
from latentbench.reporting.summary import Summary, label, scales

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A column on one scale; rows are indices in the table.

    best: with the best mean; candidates: that cannot be ruled out as the best, those included; ruled_out: the others
    minded: of whose number a run warns; such a row is none of the above
    differences: row -> its mean less that of its baseline, of every row that is tested against one
    better, worse: than their baseline by more than chance
    """

    column: Column
    scale: str
    title: str
    best: list[int]
    candidates: list[int]
    ruled_out: list[int]
    minded: list[int]
    differences: dict[int, float]
    better: list[int]
    worse: list[int]


def findings(summary: Summary) -> list[Finding]:
    """A finding per scale and main column that has a best row."""
    columns = main_columns(summary)
    found = [_finding(summary, column, scale, rows) for scale, rows in scales(summary).items() for column in columns]
    return [finding for finding in found if finding.best]


def baseline_name(summary: Summary) -> str:
    """What rows are tested against, in words; empty if nothing is."""
    names = {name(summary, index) for index in summary.partners.values()}
    return names.pop() if len(names) == 1 else "their baseline" if names else ""


def headline(summary: Summary, found: Sequence[Finding]) -> list[str]:
    """What the findings say together, in sentences."""
    if not found:
        return ["There is nothing to compare: no measure of which more or less is better has numbers of two rows."]
    single = [f"{name(summary, f.best[0])} in {_where(f)}" for f in found if len(f.candidates) == 1 and not f.minded]
    where = f"{len(single)} of {len(found)} main measures: {_listed(single)}" if single else "none of the main measures"
    sentences = [f"The seeds single out a best row in {where}."]
    than = baseline_name(summary)
    if than:
        better = [f"{_listed([name(summary, i) for i in f.better])} in {_where(f)}" for f in found if f.better]
        sentences.append(
            f"Better than {than} by more than chance: {'; '.join(better)}."
            if better
            else f"No row is better than {than} by more than chance in {_main(found)}."
        )
    return sentences


def _main(found: Sequence[Finding]) -> str:
    return "the main measures" if len(found) > 1 else "the main measure"


def _where(finding: Finding) -> str:
    return f"{finding.column.key} ({finding.scale})" if finding.scale else finding.column.key


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def main_columns(summary: Summary) -> list[Column]:
    """The columns of `MAIN` that the table has; where it has none, the first that have a direction."""
    directed = [c for c in summary.columns if c.higher_is_better is not None and not c.key.endswith("/real")]
    by_key = {column.key: column for column in directed}
    return [by_key[key] for key in MAIN if key in by_key] or directed[: len(MAIN)]


def sections(summary: Summary) -> dict[str, list[Column]]:
    """Columns by heading: the main ones, then all of them by the question that they are an answer to."""
    than = baseline_name(summary)
    against = f", and differences from {than}" if than else ""
    sections = {f"Main measures{against}": main_columns(summary)}
    questions = {stem: question for question, stems in QUESTIONS.items() for stem in stems}
    for column in summary.columns:
        stem = column.key.split("/")[0].removesuffix("_ratio")
        sections.setdefault(questions.get(stem, "Other measures"), []).append(column)
    return {heading: columns for heading, columns in sections.items() if columns}


def name(summary: Summary, index: int) -> str:
    """A row's name beside others of its scale."""
    return label(summary, index, [key for key in summary.keys if key not in summary.scale] or summary.keys)


def _finding(summary: Summary, column: Column, scale: str, rows: Sequence[int]) -> Finding:
    there = {index: list(by_seed(summary.runs[index], column.key).values()) for index in rows}
    minded = [i for i, numbers in there.items() if numbers and any(column.key in r.caveats for r in summary.runs[i])]
    values = {index: numbers for index, numbers in there.items() if numbers and index not in minded}
    means = {index: float(np.mean(numbers)) for index, numbers in values.items()}
    sign = 1.0 if column.higher_is_better else -1.0
    differences = {
        index: means[index] - means[partner]
        for index, partner in summary.partners.items()
        if index in values and partner in values
    }
    clear = {i: sign * difference for i, difference in differences.items() if (i, column.key) in summary.different}
    better = [index for index, gain in clear.items() if gain > 0]
    worse = [index for index, gain in clear.items() if gain < 0]
    share = LEVEL / max(1, len(values) - 1)
    # The true best is ruled out only if one of the others wrongly beats it, which each does with its share of 5 %:
    # whichever row it is, the candidates hold it with 95 % confidence. Nor is the best what the table marks as worse.
    beaten = {*worse, *(summary.partners[index] for index in better)}
    ruled_out = [
        index
        for index, own in values.items()
        if index in beaten
        or any(sign * (means[i] - means[index]) > welch_interval(values[i], own, share) for i in values)
    ]
    highest = max((sign * mean for mean in means.values()), default=0.0)  # the higher, the better
    return Finding(
        column=column,
        scale=scale,
        title=MAIN.get(column.key, column.key),
        best=[index for index, mean in means.items() if sign * mean == highest and len(values) > 1],
        candidates=[index for index in values if index not in ruled_out],
        ruled_out=ruled_out,
        minded=minded,
        differences=differences,
        better=better,
        worse=worse,
    )
