"""Findings claim no more than the seeds support."""

import dataclasses
import functools

import numpy as np
import pytest
import scipy.stats

from example_records import a_record
from latentbench.contracts.options import options, part_of
from latentbench.reporting.columns import Measures
from latentbench.reporting.findings import QUESTIONS, Finding, baseline_name, find, headline, main_columns, sections
from latentbench.reporting.page_tables import make_tables
from latentbench.reporting.summarize import summarize
from latentbench.reporting.summary import Row, Summary

# Simulated studies differ in their numbers alone.
the_record = functools.cache(a_record)


def a_summary(values: dict[str, list[float]], key: str = "fid/prior") -> Summary:
    """A table of one column: method -> a number per seed."""
    records = [
        dataclasses.replace(the_record(method, seed), metrics={key: value})
        for method, of in values.items()
        for seed, value in enumerate(of)
    ]
    return summarize(records, rows=["method"], baseline="vae", measures=Measures(primary=key))


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def the_finding(summary: Summary) -> Finding:
    (found,) = find(summary)
    return found


def test_rows_that_are_beaten_are_ruled_out_and_the_others_are_not() -> None:
    summary = a_summary({"ae": [50.0, 51.0, 52.0], "gan": [11.0, 9.0, 13.0], "vae": [10.0, 11.0, 12.5]})
    found = the_finding(summary)
    assert names(found.best) == ["gan"]
    assert names(found.candidates) == ["gan", "vae"]
    assert names(found.ruled_out) == ["ae"]
    assert names(found.worse) == ["ae"]
    assert found.better == []
    assert headline(summary, [found]) == [
        "No row is clearly the best in the main measure.",
        "No row is significantly better than vae in the main measure."
    ]  # fmt: skip


def test_a_row_that_beats_all_others_is_singled_out() -> None:
    summary = a_summary({"ae": [1.0, 1.1, 1.2], "vae": [10.0, 11.0, 12.0]}, "psnr/test")
    found = the_finding(summary)
    assert (names(found.best), names(found.worse)) == (["vae"], ["ae"])  # higher is better
    assert headline(summary, [found])[0] == "One row is clearly the best in 1 of 1 main measure: vae in psnr/test."


def test_of_many_better_rows_the_summary_names_the_best() -> None:
    methods = ["gan", "mixture_vae", "flow_prior_vae", "iwae", "ae", "iaf_vae", "vampprior_vae"]
    better = {method: [level + noise for noise in (0.0, 0.1, 0.2)] for level, method in enumerate(methods)}
    summary = a_summary({**dict(reversed(better.items())), "vae": [100.0, 100.1, 100.2]})
    found = the_finding(summary)
    assert [row.runs[0].choices["method"] for row in found.better] == methods
    named = "; ".join([*names(found.better)[:5], "2 others"])  # a comma is within a row's name
    assert headline(summary, [found])[1:] == [
        f"Significantly better than {baseline_name(summary)} in fid/prior: {named}."
    ]


def test_what_the_table_marks_and_what_could_be_best_agree() -> None:
    steady = {"vae": [10.0, 11.0, 10.5, 10.2], "ae": [7.9, 8.0, 8.4, 8.3], "gan": [12.5, 13.0, 12.8, 13.3]}
    summary = a_summary(steady)
    found = the_finding(summary)
    assert (names(found.better), names(found.worse)) == (["ae"], ["gan"])
    assert (names(found.candidates), names(found.ruled_out)) == (["ae"], ["gan", "vae"])


def test_a_row_that_rules_out_all_others_is_marked() -> None:
    random = np.random.default_rng(3)
    n_alone = 0
    for shift in np.linspace(0.0, 20.0, 100):
        means = {"ae": -shift, "gan": 5.0, "iwae": 4.0, "vae": 0.0}
        summary = a_summary({method: list(random.normal(mean, 1.0, 3)) for method, mean in means.items()})
        found = the_finding(summary)
        if names(found.candidates) == ["ae"]:
            n_alone += 1
            assert names(found.better) == ["ae"]
    assert 20 < n_alone < 100


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_a_row_is_ruled_out_by_a_two_sided_test_at_five_percent_over_all_others(share: float) -> None:
    # Five seeds of variance 2.5 in each of three rows: a standard error of 1 with 12 degrees of freedom; two others.
    worse = share * scipy.stats.t.isf(0.05 / 2 / 2, 12)
    rows = {"ae": 0.0, "gan": 0.0, "iwae": worse}
    found = the_finding(a_summary({method: [mean + i for i in range(-2, 3)] for method, mean in rows.items()}))
    assert names(found.ruled_out) == (["iwae"] if share > 1 else [])


def test_a_number_with_a_caveat_is_listed_and_not_judged() -> None:
    values = {"ae": [1.0, 1.1, 1.2], "vae": [10.0, 11.0, 12.0], "gan": [20.0, 20.5, 21.0]}
    records = [
        a_record(
            method,
            seed,
            {"fid/prior": v},
            caveats={"fid/prior": "a loose bound"} if (method, seed) == ("ae", 1) else {},
        )
        for method, of in values.items()
        for seed, v in enumerate(of)
    ]
    summary = summarize(records, rows=["method"], baseline="vae")
    found = the_finding(summary)
    assert (names(found.with_caveat), names(found.best)) == (["ae"], ["vae"])
    judged = {*found.candidates, *found.ruled_out, *found.better, *found.worse, *found.differences}
    assert sorted(names(list(judged))) == ["gan", "vae"]
    assert names(found.candidates) == ["vae"]
    assert "No row is clearly the best" in headline(summary, [found])[0], "ae may be better"


def test_a_measure_whose_numbers_all_have_caveats_is_named_as_not_judged() -> None:
    records = [
        a_record(method, seed, {"fid/prior": fid + seed, "psnr/test": fid}, caveats={"psnr/test": "a caveat"})
        for method, fid in (("ae", 1.0), ("vae", 9.0))
        for seed in range(3)
    ]
    measures = Measures(primary="fid/prior", secondary=["psnr/test"])
    summary = summarize(records, rows=["method"], baseline="vae", measures=measures)
    fid, psnr = find(summary)
    assert (psnr.best, names(psnr.with_caveat)) == ([], ["ae", "vae"])
    sentences = headline(summary, [fid, psnr])
    assert sentences[0] == "One row is clearly the best in 1 of 2 main measures: ae in fid/prior."
    assert sentences[-1] == "Not judged: psnr/test. See below why."
    (main, *_) = make_tables(summary, [fid, psnr]).tables
    best = [[cell.is_best for cell in line.cells] for block in main.blocks for line in block]
    assert best == [[True, False], [False, False]]


def test_one_seed_rules_nothing_out() -> None:
    summary = a_summary({"ae": [1.0], "vae": [1000.0]})
    found = the_finding(summary)
    assert found.ruled_out == found.better == found.worse == []
    assert names(found.candidates) == ["ae", "vae"]


def test_the_candidates_hold_the_best_row_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    means = {"a": 0.0, "b": 0.5, "c": 0.5, "d": 1.0}
    held = []
    for _ in range(300):
        summary = a_summary({method: list(random.normal(mean, 1.0, 4)) for method, mean in means.items()})
        held.append("a" in names(the_finding(summary).candidates))
    assert np.mean(held) > 0.93


def test_differences_from_the_baseline_hold_together() -> None:
    random = np.random.default_rng(2)
    held = []
    for _ in range(300):
        summary = a_summary({method: list(random.normal(5.0, 1.0, 4)) for method in ("ae", "gan", "iwae", "vae")})
        found = the_finding(summary)
        held.append(not found.better and not found.worse)
    assert np.mean(held) > 0.93


def test_rows_are_compared_with_their_own_baseline_as_the_table_does() -> None:
    records = [
        a_record(method, seed, {"fid/prior": fid * size + seed + 0.1 * seed * seed * (method == "ae")}, beta=size)
        for size in (2, 8)
        for method, fid in (("ae", 1.0), ("vae", 5.0))
        for seed in range(4)
    ]
    summary = summarize(records, rows=["method", "beta"], baseline="vae", measures=Measures(primary="fid/prior"))
    found = the_finding(summary)
    assert found.better == [row for row in summary.rows if row.cells["fid/prior"].differs] == list(found.differences)
    gained = {row.name: difference for row, difference in found.differences.items()}
    assert gained == pytest.approx({"ae, beta=2": -8 + 0.35, "ae, beta=8": -32 + 0.35})
    assert "Significantly better than their baseline in fid/prior: ae, beta=2; ae, beta=8." in " ".join(
        headline(summary, [found])
    )


def test_without_a_baseline_nothing_is_said_of_differences() -> None:
    summary = summarize([a_record("ae"), a_record("vae", 0)], rows=["method"])
    found = the_finding(summary)
    assert (found.differences, found.better, found.worse) == ({}, [], [])
    assert len(headline(summary, [found])) == 1


def test_data_sets_are_compared_apart() -> None:
    records = [
        a_record(method, seed, {"fid/prior": fid + seed}, data=data)
        for data in ("digits", "mnist")
        for method, fid in (("ae", 1.0), ("vae", 9.0))
        for seed in range(2)
    ]
    summary = summarize(records, rows=["method"])
    assert [(found.scale, names(found.best)) for found in find(summary)] == [
        ("digits", ["ae"]), ("mnist", ["ae"])
    ]  # fmt: skip


def test_a_row_of_which_a_seed_failed_is_not_judged() -> None:
    records = [a_record(method, seed, {"fid/prior": 1.0}) for method in ("ae", "gan", "vae") for seed in (0, 1)]
    records[0] = a_record("ae", 0, {}, status="failed", reason="x")
    found = the_finding(summarize(records, rows=["method"]))
    assert (names(found.candidates), names(found.with_caveat)) == (["gan", "vae"], ["ae"])


def test_runs_that_failed_are_not_compared() -> None:
    records = [a_record("ae"), a_record("vae"), a_record("gan", metrics={}, status="failed", reason="x")]
    found = the_finding(summarize(records, rows=["method"], columns=["fid/prior"]))
    assert len(found.candidates) == 2


def test_without_a_direction_there_is_nothing_to_say() -> None:
    summary = a_summary({"ae": [1.0], "vae": [2.0]}, "rate/test")
    assert find(summary) == []
    assert headline(summary, [])[0].startswith("Nothing to compare")
    assert list(sections(summary)) == ["What do the latents encode?"]


def test_main_columns_are_the_measures_of_the_study_or_the_first_with_a_direction() -> None:
    metrics = {"psnr/test": 1.0, "fid/gmm": 1.0, "fid/prior": 1.0, "fid/real": 1.0, "rate/test": 1.0}
    measures = Measures(primary="fid/prior", secondary=["rate/test", "fid/gmm"])
    summary = summarize([a_record(metrics=metrics)], rows=["method"], measures=measures)
    assert [column.key for column in main_columns(summary)] == ["fid/prior", "fid/gmm"]
    other = summarize([a_record(metrics={"psnr/test": 1.0, "rate/test": 1.0})], rows=["method"])
    assert [column.key for column in main_columns(other)] == ["psnr/test"]


@pytest.mark.parametrize("option", options("metric"))
def test_every_quantity_answers_a_question(option: str) -> None:
    stems = {stem for of in QUESTIONS.values() for stem in of}
    assert {quantity.removesuffix("_ratio") for quantity in part_of("metric", option).quantities} - stems == set()
