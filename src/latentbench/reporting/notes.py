"""What is said below a table: what its numbers mean, what is missing and why, and what may not compare.

`rows` are the rows of a table, each with its value of the first key, its name and its runs.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from latentbench.records.record import Record
from latentbench.reporting.significance import LEVEL, least_difference

Rows = Sequence[tuple[str, str, Sequence[Record]]]


def measured(records: Sequence[Record]) -> list[str]:
    """What Frechet distances were measured in and how many images each set had: they mean nothing without."""
    facts = [record.config.get("resolved") or {} for record in records]
    found = {
        (fact["features"], fact["images_per_set"]) for fact in facts if {"features", "images_per_set"} <= fact.keys()
    }
    return [
        f"FID: features {features}, {count} images of every set against {count} test images"
        for features, count in sorted(found)
    ]


def ranked(numbers: set[int]) -> list[str]:
    """What the mean rank is the mean of, given the numbers of columns on the scales."""
    columns = " or ".join(map(str, sorted(numbers)))
    return [
        f"mean rank: over the {columns} columns that have a direction and a number in every row; 1 is the best; "
        "columns that measure much the same all count"
    ] * bool(numbers)  # fmt: skip


def tested(baseline: str, pairs: Collection[int], tests: int) -> list[str]:
    """What the mark of a difference means. pairs: the numbers of seeds; tests: the most of a column."""
    if not tests:
        return [f"no difference from {baseline} can be tested: that takes two seeds or more in common with it"]
    n = max(pairs)
    counts = " or ".join(map(str, sorted(pairs)))
    return [
        f"\N{DAGGER}: differs from {baseline} by a two-sided paired t test over their common seeds (n = {counts}), p < "
        f"{LEVEL:g} after Holm's correction over the rows of a column ({tests} at most). With n = {n} the clearest of "
        f"{tests} must be {least_difference(n, tests):.1f} standard errors from 0: what is not marked may differ too"
    ]


def untested(baseline: str, keys: Sequence[str]) -> list[str]:
    """That nothing is the baseline."""
    return [f"no row has {baseline} for {' or '.join(keys)} (table.baseline): no difference is tested"]


def unfinished(rows: Rows) -> list[str]:
    """A line per method and reason of the runs that were refused or failed."""
    runs = [run for _, _, of_row in rows for run in of_row if run.status != "finished"]
    counts = Counter((run.status, run.choices.get("method"), run.reason or "no reason given") for run in runs)
    return [
        f"{status}: method={method}, {_count(n, 'run')}: {reason}"
        for (status, method, reason), n in sorted(counts.items(), key=str)
    ]


def skipped(rows: Rows, columns: Sequence[str]) -> list[str]:
    """A line per reason and rows, naming the metrics that those rows do not have."""
    having: dict[tuple[str, str], dict[str, None]] = {}
    for key in columns:
        for _, name, runs in rows:
            for run in runs:
                if key in run.skipped:
                    having.setdefault((run.skipped[key], key), {})[name] = None
    metrics: dict[tuple[str, str], list[str]] = {}
    for (reason, key), names in having.items():
        metrics.setdefault((reason, _together(names, rows)), []).append(key)
    return [f"skipped: {', '.join(keys)} of {names}: {reason}" for (reason, names), keys in metrics.items()]


def warned(rows: Rows, columns: Sequence[str]) -> list[str]:
    """A line per column that some runs warn of, with those rows and what the first of the runs says."""
    notes = []
    for key in columns:
        texts: dict[str, str] = {}
        for _, name, runs in rows:
            for run in runs:
                if key in run.caveats:
                    texts.setdefault(name, run.caveats[key])
        if texts:
            notes.append(f"mind {key} of {_together(texts, rows)}: {next(iter(texts.values()))}")
    return notes


def _together(names: Collection[str], rows: Rows) -> str:
    """Names of rows; where all that share the value of the first key are among them, that value stands for them."""
    groups: dict[str, list[str]] = {}
    for first, name, _ in rows:
        groups.setdefault(first, []).append(name)
    listed = []
    for first, of_group in groups.items():
        there = [name for name in of_group if name in names]
        listed += [first] if len(there) == len(of_group) else there
    return "; ".join(listed)


def added(asked: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Which row keys nobody asked for."""
    more = keys[len(asked) :]
    if not more:
        return []
    return [f"runs differ in {', '.join(more)} too: shown beside {', '.join(asked)}, not averaged over"]


def versions(records: Sequence[Record]) -> list[str]:
    """A line where the records come from different versions of latentbench or of its source."""
    commits = [str(record.environment.get("git_commit") or "unknown")[:10] for record in records]
    packages = [str((record.environment.get("packages") or {}).get("latentbench") or "unknown") for record in records]
    notes = []
    for name, found in (("latentbench versions", packages), ("git commits", commits)):
        counts = Counter(found)
        if len(counts) > 1:
            listed = ", ".join(f"{value} ({_count(count, 'run')})" for value, count in sorted(counts.items()))
            notes.append(f"the records come from {len(counts)} {name}: {listed}")
    return notes


def floors(scales: Mapping[str, Sequence[Record]], columns: Sequence[str]) -> list[str]:
    """Runs of one scale and seed saw the same real images: where their floors differ, their setup did."""
    stems = {key.split("/")[0] for key in columns}
    found: dict[tuple[Any, ...], list[float]] = {}
    for scale, runs in scales.items():
        for run in runs:
            for stem in stems:
                if f"{stem}/real" in run.metrics:
                    key = (stem, scale, run.choices["seed"])
                    found.setdefault(key, []).append(run.metrics[f"{stem}/real"])
    differing = {key[0] for key, values in found.items() if np.ptp(values) > 0.01 * max(map(abs, values))}
    return [f"runs of one seed differ in {stem}/real: they may not compare" for stem in sorted(differing)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
