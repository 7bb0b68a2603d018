"""The notes below a table: what its numbers mean, what is missing and why, and what may not be compared."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from latentbench.configuration.identity import method_words
from latentbench.records.keys import CLASSIFIER, VALIDATION, floor_key, is_of_model, view_of
from latentbench.records.record import Record
from latentbench.reporting.comparison import BaselineTests
from latentbench.reporting.significance import LEVEL, POWER
from latentbench.reporting.summary import Summary, format_value, join_rows

# The floor of splits with the same share of every class is about half of that of independent draws (docs/metrics.md).
BIAS_IN_FLOORS = 2
NUMBER = re.compile(r"-?\d[\d.,]*(?:e[+-]?\d+)?|\b(?:inf|nan)\b")
NO_REASON = {"trained": "not measured yet; the command that trained it measures it"}


def features_and_counts(runs_of_scales: Mapping[str, Sequence[Record]], keys: Collection[str]) -> list[str]:
    """The features and numbers of images behind Fréchet distances, which are meaningless without them.

    runs_of_scales: the name of a scale -> its runs
    keys: of the numbers that are shown
    """
    shown = {view_of(key).features for key in keys if not is_of_model(key)}
    scales_of: dict[tuple[str, str, int], list[str]] = {}
    for scale, runs in runs_of_scales.items():
        facts = [run.config.get("resolved") or {} for run in runs]
        used = {
            (option, name, fact["images_per_set"])
            for fact in facts
            for option, name in fact.get("features", {}).items()
            if option in shown and "images_per_set" in fact
        }
        for features in sorted(used):
            scales_of.setdefault(features, []).append(scale)
    notes = [
        f"FID{'' if option == CLASSIFIER else f' @{option}'}{_of(scales, runs_of_scales)}: features {name}, {count} "
        f"images of each set compared with {count} test images"
        for (option, name, count), scales in scales_of.items()
    ]
    if any(view_of(key).split == VALIDATION for key in keys):
        notes.append(
            "@validation: compared with as many validation images, without any test image; there the floor is training "
            "images"
        )
    return notes


def few_images(summary: Summary) -> list[str]:
    """A line per floor of Fréchet distances whose bias may be more than a tenth of a number, or than its error."""
    columns: dict[str, list[str]] = {}
    for column in summary.columns:
        if column.key.startswith("fid/") and column.key != floor_key(column.key):
            columns.setdefault(floor_key(column.key), []).append(column.key)
    notes = []
    runs_of_scales = {scale.name: scale.runs for scale in summary.scales}
    for (scale, runs), (floor, keys) in itertools.product(runs_of_scales.items(), columns.items()):
        bias = BIAS_IN_FLOORS * max((run.metrics.get(floor, 0.0) for run in runs), default=0.0)
        least = [
            min(run.metrics[key] / 10, run.standard_errors.get(key, math.inf))
            for run in runs
            for key in keys
            if key in run.metrics
        ]
        if least and bias > min(least):
            notes.append(
                f"caveat: {', '.join(keys)}{_of([scale], runs_of_scales)}: too high, as images are few, by up to about "
                f"{bias:.2g} (twice {floor}): more than a tenth of numbers below {10 * bias:.2g}, and no standard "
                "error contains it"
            )
    return notes


def _of(scales: Collection[str], all_scales: Collection[str]) -> str:
    """Such as ` of digits`; nothing if all are meant."""
    return "" if len(scales) == len(all_scales) else f" of {'; '.join(scales)}"


def ranks(counts: set[int]) -> list[str]:
    """The columns that mean ranks average over. counts: their numbers, one per scale."""
    columns = " or ".join(map(str, sorted(counts)))
    return [
        f"mean rank: over the {columns} columns with a direction and a number in every row, not the same in all; 1 is "
        "best. Columns that measure nearly the same thing all count"
    ] * bool(counts)  # fmt: skip


def bounds(summary: Summary) -> list[str]:
    """The columns of which the numbers are known from bounds."""
    keys = ", ".join(column.key for column in summary.bounded_columns)
    return [
        f"{keys}: where a cell says a to b, the truth lies between these bounds, which more images would narrow. A row "
        "is marked there only if its bounds do not overlap with those of the rows that it is compared with, and a "
        "column with bounds that overlap does not count for mean ranks"
    ] * bool(keys)  # fmt: skip


def baseline_tests(summary: Summary, tests: BaselineTests | None) -> list[str]:
    """The meaning of the mark for a significant difference and what could be seen, or why nothing was tested."""
    if summary.baseline is None:
        return []
    if tests is None:
        keys = " or ".join(key for key in summary.keys if key not in summary.scale_keys)
        return [f"no row matches the baseline {summary.baseline} (table.baseline) in {keys}: no difference was tested"]
    if not tests.columns:
        why = "a test needs two or more seeds of either, and a main column (table.primary, table.secondary)"
        return [f"no difference from {tests.baseline} was tested: {why}"]
    alone = "; ".join(row.name for row in tests.alone)
    names = {of: f"{of.column} ({of.scale})" if of.scale else of.column for of in tests.columns}
    tested = ", ".join(f"{name} ({_count(of.n, 'test')})" for of, name in names.items())
    seen = ", ".join(f"{_two_digits(of.visible)} in {name}" for of, name in names.items())
    marked = ", ".join(_two_digits(of.marked) for of in names)
    level, over_all = (_percent(probability) for probability in (LEVEL, min(1.0, len(names) * LEVEL)))
    within = f"within each of the {len(names)} columns, {over_all} over all" if len(names) > 1 else "there"
    return [
        f"\N{DAGGER}: differs from {tests.baseline} by two-sided t tests, seeds unpaired, variances shrunk towards "
        f"those of the other rows. Tested are {tested}; the probability of any wrong mark is {level} at most {within} "
        "(Holm's correction over the rows of a column)",
        f"power: a row is marked in {_percent(POWER)} of such studies if it truly differs by {seen}. A measured "
        f"difference is marked whatever the other rows do if it is above {marked}. These are medians over rows; what "
        "is not marked may differ, too",
        *[f"not compared, since there is no {tests.baseline}: {alone}"] * bool(alone),
    ]


def unfinished(summary: Summary) -> list[str]:
    """A line per status, method and reason of runs that were refused, failed or are not measured yet."""
    runs = [run for run in summary.runs if run.status != "finished"]
    counts = Counter(
        (run.status, method_words(run.choices), run.reason or NO_REASON.get(run.status, "no reason given"))
        for run in runs
    )
    return [
        f"{status}: {method}, {_count(n, 'run')}: {reason}"
        for (status, method, reason), n in sorted(counts.items(), key=str)
    ]


def skipped(summary: Summary) -> list[str]:
    """A line for all metrics that were skipped in the same rows for the same reason."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for column in summary.columns:
        for row in summary.rows:
            for run in row.runs:
                if column.key in run.skipped:
                    labels.setdefault((run.skipped[column.key], column.key), {})[row.label] = None
    metrics: dict[tuple[str, str], list[str]] = {}
    for (reason, metric), labels_of_reason in labels.items():
        metrics.setdefault((reason, join_rows(labels_of_reason, summary.rows)), []).append(metric)
    return [f"skipped: {', '.join(keys)} of {rows}: {reason}" for (reason, rows), keys in metrics.items()]


def caveats(summary: Summary) -> list[str]:
    """A line per caveat and the rows that have it: the columns, and the text, of one run where its numbers differ."""
    columns: dict[tuple[str, str], list[str]] = {}
    for column in summary.columns:
        kinds: dict[str, list[tuple[str, str]]] = {}  # text without numbers -> labels of rows and their texts
        for row in summary.rows:
            for text in row.caveats_of(column.key):
                kinds.setdefault(NUMBER.sub("", text), []).append((row.label, text))
        for found in kinds.values():
            labels, texts = (list(dict.fromkeys(each)) for each in zip(*found, strict=True))
            one = f"a run of {join_rows(labels[:1], summary.rows)}" if len(labels) > 1 else "one run"
            example = f"for example, {one}: " if len(texts) > 1 else ""
            columns.setdefault((join_rows(labels, summary.rows), example + texts[0]), []).append(column.key)
    return [f"caveat: {', '.join(keys)} of {rows}: {text}" for (rows, text), keys in columns.items()]


def incomplete(summary: Summary) -> list[str]:
    """The rows that are no best row and have no rank, since not all their runs are finished."""
    labels = [row.label for row in summary.rows if row.finished and not row.is_complete]
    if not labels:
        return []
    rows = join_rows(labels, summary.rows)
    return [f"not all seeds of {rows} are finished: neither best row nor rank, since those left may be the lucky ones"]


def added_keys(summary: Summary, rows: Sequence[str]) -> list[str]:
    """A line with the row keys that were added to table.rows."""
    added = summary.keys[len(rows) :]
    if not added:
        return []
    return [
        f"row keys beside {', '.join(rows)}: {', '.join(added)}, in which runs differ or some are not as usual for "
        "their methods; not averaged over"
    ]


def common_settings(common: Mapping[str, Any]) -> list[str]:
    """A line with the settings in which all runs alike depart from their methods' presets."""
    texts = [f"{key}={format_value(value)}" for key, value in common.items()]
    return [f"all runs have {', '.join(texts)}, and not what is usual for their methods"] if texts else []


def versions(records: Sequence[Record]) -> list[str]:
    """A line each if the records come from several versions of latentbench, git commits or kinds of processors."""
    commits = [str(record.environment.get("git_commit") or "unknown")[:10] for record in records]
    packages = [str((record.environment.get("packages") or {}).get("latentbench") or "unknown") for record in records]
    notes = []
    processors = [str(record.environment.get("processor") or "unknown") for record in records]
    of_records = {"latentbench versions": packages, "git commits": commits, "kinds of processors": processors}
    for name, values in of_records.items():
        counts = Counter(values)
        if len(counts) > 1:
            listed = ", ".join(f"{value} ({_count(count, 'run')})" for value, count in sorted(counts.items()))
            notes.append(f"the records come from {len(counts)} {name}: {listed}")
    return notes


def unequal_floors(summary: Summary) -> list[str]:
    """A line per quantity whose floor differs between runs of the same scale and seed.

    They measured the same real images, so that a difference means that their setups differ.
    """
    reals = {floor_key(column.key) for column in summary.columns}
    floors: dict[tuple[str, str, int], list[float]] = {}
    for scale in summary.scales:
        for run in scale.runs:
            for real in reals & run.metrics.keys():
                floors.setdefault((real, scale.name, run.choices["seed"]), []).append(run.metrics[real])
    unequal = {key[0] for key, values in floors.items() if np.ptp(values) > 0.01 * max(map(abs, values))}
    return [f"runs with equal seeds differ in {real}: do not compare their numbers" for real in sorted(unequal)]


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def _two_digits(value: float) -> str:
    """Two significant digits, without an exponent where four digits can do."""
    return f"{float(f'{value:.2g}'):g}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
