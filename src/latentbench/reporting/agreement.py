"""Whether the runs of a published study, run again, gave the published numbers: row by row, from the records alone."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from latentbench.records.record import Record
from latentbench.reporting.significance import LEVEL, Difference, Spread, fit_spread, holm

ROUNDING = 1e-6  # relative difference up to which numbers are equal but for rounding

BITS, ROUNDED, SCATTERED, DIFFERS = "bit for bit", "within rounding", "within its seeds' scatter", "differs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the new numbers of a row agree with the published ones.

    verdict: `BITS`, `ROUNDED`, `SCATTERED` or `DIFFERS`
    detail: the number that decided it, or what is missing
    """

    row: str
    runs: int
    verdict: str
    detail: str


def agreements(
    rows: Mapping[str, Sequence[Record]], again: Mapping[str, Record | None], measures: Sequence[str]
) -> list[Agreement]:
    """The agreement of every row that was run again.

    Where numbers differ by more than rounding, the mean of each measure is tested (`seeds_difference`), with Holm's
    correction over all tests: the probability that any row is wrongly said to differ is `LEVEL` at most.

    rows: row -> its published runs, one per seed
    again: id of a published run -> the new record of that run, None if there is none; other runs were not run again
    measures: the metrics that the study tests
    """
    spreads = {key: fit_spread(_numbers(runs, key) for runs in rows.values()) for key in measures}
    found: dict[str, Agreement] = {}
    largest: dict[str, str] = {}  # row -> its number that differs most, whether the study tests it or not
    tests: list[tuple[str, str, Difference, float]] = []
    for row, runs in rows.items():
        pairs = [(run, again[run.run_id]) for run in runs if run.run_id in again]
        if not pairs:
            continue
        verdict, detail = _without_test(pairs)
        if not verdict:
            largest[row] = detail
            verdict, detail = DIFFERS, f"{detail}; one published seed has no scatter"  # unless a test says otherwise
            old, new = [run for run, _ in pairs], [run for _, run in pairs if run]
            for key in measures:
                scatter = _numbers(runs, key)
                if difference := seeds_difference(_numbers(old, key), _numbers(new, key), scatter, spreads[key]):
                    tests.append((row, key, difference, statistics.mean(_numbers(old, key))))
        found[row] = Agreement(row=row, runs=len(pairs), verdict=verdict, detail=detail)
    adjusted = holm([difference.p for _, _, difference, _ in tests])
    # The smallest p of a row comes last, and counts.
    for p, (row, key, difference, old_mean) in sorted(zip(adjusted, tests, strict=True), key=lambda test: -test[0]):
        detail = f"{key}: {old_mean:.4g} published, {old_mean + difference.mean:.4g} now (p = {p:.2g})"
        if difference.mean == 0:
            detail = f"{largest[row]}; not tested, and the tested measures are the same"
        found[row] = dataclasses.replace(found[row], verdict=DIFFERS if p < LEVEL else SCATTERED, detail=detail)
    return list(found.values())


def seeds_difference(
    old: Sequence[float], new: Sequence[float], scatter: Sequence[float], spread: Spread
) -> Difference | None:
    """The mean of new runs minus that of the published ones with the same seeds, in units of the scatter between seeds.

    Its standard error is s sqrt(2/n), as if the new runs had other seeds, and at least rounding: s^2 is the variance of
    `scatter`, all published seeds, shrunk towards that of the other rows. One new run is enough. None without any, or
    with one published seed.
    """
    if not new or len(scatter) < 2:
        return None
    variance, freedom = spread.shrink(scatter)
    rounding = ROUNDING * (max(map(abs, (*old, *new))) or 1.0)
    error = max(rounding, math.sqrt(2 * variance / len(new)))
    return Difference(mean=statistics.mean(new) - statistics.mean(old), error=error, freedom=freedom)


def _without_test(pairs: Sequence[tuple[Record, Record | None]]) -> tuple[str, str]:
    """The verdict on pairs of a published and a new run, and its detail; no verdict if only a test can tell."""
    largest, detail = 0.0, ""
    for old, new in pairs:
        if new is None:
            return DIFFERS, f"seed {old.choices['seed']} has no new record"
        if new.status != old.status:
            reason = f" ({new.reason})" if new.reason else ""
            return DIFFERS, f"seed {old.choices['seed']} is {old.status} published, {new.status} now{reason}"
        for key, value in old.metrics.items():
            if key not in new.metrics:
                return DIFFERS, f"{key} has no number now ({new.skipped.get(key, 'not measured')})"
            distance = abs(new.metrics[key] - value) / (max(abs(value), abs(new.metrics[key])) or 1.0)
            if distance > largest:
                largest = distance
                detail = f"{key}: {value:.6g} published, {new.metrics[key]:.6g} now, seed {old.choices['seed']}"
    if largest > ROUNDING:
        return "", detail
    return (ROUNDED, f"relative difference {largest:.1g} at most") if largest else (BITS, "")


def _numbers(runs: Sequence[Record], key: str) -> list[float]:
    return [run.metrics[key] for run in runs if key in run.metrics]


def machine_of(records: Sequence[Record]) -> str:
    """What the runs were trained on and with: processor, matrix library, GPU, versions."""
    return "; ".join(dict.fromkeys(_machine(record.environment) for record in records))


def _machine(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages") or {}
    parts = [
        environment.get("gpu"),
        environment.get("processor") or "unknown processor",
        environment.get("matrix_library") or "unknown matrix library",
        *(f"{name} {packages.get(name, 'unknown')}" for name in ("torch", "latentbench")),
        str(environment.get("git_commit") or "unknown commit")[:10],
    ]
    return ", ".join(part for part in parts if part)
