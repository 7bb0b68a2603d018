"""Runs made again agree bit for bit, within rounding, within the scatter of their seeds, or differ."""

import dataclasses
import itertools

import numpy as np
import pytest

from example_records import a_record
from latentbench.records.record import Record
from latentbench.reporting.agreement import (
    BITS,
    DIFFERS,
    ROUNDED,
    SCATTERED,
    Agreement,
    agreements,
    machine_of,
    seeds_difference,
)
from latentbench.reporting.significance import LEVEL, fit_spread

# Four rows whose three seeds scatter by 1 around means that are far apart.
ROWS = {
    method: [a_record(method, seed, {"fid/prior": mean + seed, "rate/test": 4.0 + seed}) for seed in range(3)]
    for method, mean in {"vae": 20.0, "ae": 200.0, "aae": 30.0, "gan": 40.0}.items()
}


def changed(records: list[Record], **by: float) -> dict[str, Record | None]:
    """The same runs with `by` added to their Fréchet distance or rate."""
    of_key = {"fid/prior": by.get("fid", 0.0), "rate/test": by.get("rate", 0.0)}
    return {
        run.run_id: dataclasses.replace(run, metrics={key: v + of_key[key] for key, v in run.metrics.items()})
        for run in records
    }


def the_one(again: dict[str, Record | None], rows: dict[str, list[Record]] = ROWS) -> Agreement:
    (found,) = agreements(rows, again, ["fid/prior", "nll/test"])
    return found


@pytest.mark.parametrize(
    ("by", "verdict", "detail"),
    [
        ({}, BITS, ""),
        ({"fid": 1e-6}, ROUNDED, "relative difference 5e-08 at most"),
        ({"fid": 1.0}, SCATTERED, "fid/prior: 21 published, 22 now (p = 0.26)"),
        ({"fid": 20.0}, DIFFERS, "fid/prior: 21 published, 41 now (p = 8.2e-09)"),
        (
            {"rate": 1.0},
            SCATTERED,
            "rate/test: 4 published, 5 now, seed 0; not tested, and the tested measures are the same",
        ),
    ],
)
def test_a_row_agrees_as_far_as_its_numbers_do(by: dict[str, float], verdict: str, detail: str) -> None:
    assert the_one(changed(ROWS["vae"], **by)) == Agreement(row="vae", runs=3, verdict=verdict, detail=detail)


def test_one_seed_made_again_is_compared_with_that_seed() -> None:
    last = ROWS["vae"][2]
    assert the_one(changed([last], fid=-1.0)).detail == "fid/prior: 22 published, 21 now (p = 0.5)"
    assert the_one(changed([last])).verdict == BITS


def test_holm_corrects_over_all_rows() -> None:
    one = the_one(changed(ROWS["vae"], fid=2.2))
    assert one.verdict == DIFFERS
    everything = agreements(ROWS, changed([*itertools.chain(*ROWS.values())], fid=2.2), ["fid/prior"])
    assert [each.row for each in everything] == list(ROWS)
    assert {each.verdict for each in everything} == {SCATTERED}


def test_a_run_that_is_missing_failed_or_lost_a_number_differs() -> None:
    run = ROWS["vae"][1]
    failed = dataclasses.replace(run, status="failed", reason="the loss is nan")
    without = dataclasses.replace(run, metrics={"rate/test": 5.0}, skipped={"fid/prior": "too few images"})
    for new, detail in [
        (None, "seed 1 has no new record"),
        (failed, "seed 1 is finished published, failed now (the loss is nan)"),
        (without, "fid/prior has no number now (too few images)"),
    ]:
        assert the_one({run.run_id: new}) == Agreement(row="vae", runs=1, verdict=DIFFERS, detail=detail)


def test_a_refused_run_that_is_refused_again_agrees() -> None:
    refused = a_record("vae", 0, {}, status="refused", reason="no density")
    assert the_one({refused.run_id: refused}, {"vae": [refused]}).verdict == BITS


def test_a_row_of_one_published_seed_has_no_scatter_to_agree_within() -> None:
    rows = ROWS | {"vae": ROWS["vae"][:1]}
    found = the_one(changed(rows["vae"], fid=1.0), rows)
    assert found.verdict == DIFFERS
    assert found.detail == "fid/prior: 20 published, 21 now, seed 0; one published seed has no scatter"


def test_a_number_that_is_the_same_in_every_seed_may_not_move() -> None:
    rows = {"vae": [a_record("vae", seed, {"fid/prior": 7.0}) for seed in range(3)]}
    assert the_one(changed(rows["vae"], fid=0.001), rows).verdict == DIFFERS


@pytest.mark.parametrize("seeds", [1, 3])
def test_runs_with_other_seeds_are_said_to_differ_at_the_stated_rate(seeds: int) -> None:
    random = np.random.default_rng(0)
    rejected = 0
    for _ in range(1000):
        published, new = random.normal(size=(6, 3)).tolist(), random.normal(size=seeds).tolist()
        found = seeds_difference(published[0][:seeds], new, published[0], fit_spread(published))
        assert found is not None
        rejected += found.p < LEVEL
    assert 30 < rejected < 75  # 50 are expected; the standard deviation is 7


def test_the_machines_are_named_once_each() -> None:
    environment = {
        "processor": "Xeon", "matrix_library": "MKL 2024.2 AVX2", "git_commit": "0123456789abcdef",
        "packages": {"torch": "2.13.0", "latentbench": "0.1.0"},
    }  # fmt: skip
    known = a_record(environment=environment)
    machine = "Xeon, MKL 2024.2 AVX2, torch 2.13.0, latentbench 0.1.0, 0123456789"
    assert machine_of([known, known]) == machine
    other = a_record(environment=environment | {"gpu": "H100", "processor": None})
    assert machine_of([known, other]).removeprefix(f"{machine}; ").startswith("H100, unknown processor, MKL")
