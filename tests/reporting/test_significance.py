"""Tests against the baseline agree with scipy and hand calculation, and false marks are as rare as stated."""

import math

import numpy as np
import pytest
import scipy.stats

from example_records import a_record, markdown_row, row
from latentbench.reporting.significance import (
    LEVEL,
    holm,
    mean_and_deviation,
    mean_ranks,
    min_standard_errors,
    paired_p_value,
)
from latentbench.reporting.summarize import summarize
from latentbench.reporting.summary import Summary
from latentbench.reporting.tables import to_csv, to_latex, to_markdown, to_text

NAN = math.nan


def marked_cells(summary: Summary) -> set[tuple[str, str]]:
    """Where rows differ from the baseline, as (method, metric)."""
    return {(row.values["method"], key) for row in summary.rows for key, cell in row.cells.items() if cell.differs}


def seeded(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_p_value_is_that_of_scipys_paired_test(n: int) -> None:
    a, b = np.random.default_rng(n).normal(0.3, 1.0, (2, n)).tolist()
    p, pairs = paired_p_value(seeded(a), seeded(b))
    assert pairs == n
    assert p == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert mean_and_deviation(a) == pytest.approx((np.mean(a), np.std(a, ddof=1)), rel=1e-12)


def test_only_seeds_that_both_have_are_paired() -> None:
    assert paired_p_value({0: 1.0, 1: 2.0, 2: 4.0, 7: 99.0}, {2: 1.0, 1: 0.5, 0: 0.0, 8: -99.0}) == (
        pytest.approx(scipy.stats.ttest_rel([1.0, 2.0, 4.0], [0.0, 0.5, 1.0]).pvalue),
        3,
    )


@pytest.mark.parametrize(
    ("values", "baseline", "n"),
    [
        ({0: 1.0}, {0: 2.0}, 1),
        ({0: 1.0, 1: 2.0}, {2: 1.0, 3: 5.0}, 0),
        ({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0}, 2),
        ({0: 8.0, 1: 8.0, 2: 8.0}, {0: 7.0, 1: 7.0, 2: 7.0}, 3),
        ({0: 0.1 + 0.2, 1: 0.3}, {0: 0.0, 1: 0.0}, 2),  # differ by rounding
    ],
)
def test_what_cannot_be_tested_has_no_p_value(values: dict[int, float], baseline: dict[int, float], n: int) -> None:
    p, pairs = paired_p_value(values, baseline)
    assert math.isnan(p)
    assert pairs == n


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, which may not be below the one before
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.01, NAN, 0.02], [0.02, NAN, 0.02]),
        ([0.6, 0.5], [1.0, 1.0]),
        ([NAN], [NAN]),
        ([], []),
    ],
)
def test_holms_correction_by_hand(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted, nan_ok=True)


def test_without_any_difference_at_most_one_table_in_twenty_marks_one() -> None:
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(1000):
        baseline, *rows = generator.normal(size=(9, 3)).tolist()
        wrong += min(holm([paired_p_value(seeded(of_row), seeded(baseline))[0] for of_row in rows])) < LEVEL
    assert wrong / 1000 < LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / 1000)


@pytest.mark.parametrize(("n", "tests"), [(3, 8), (3, 37), (5, 1)])
def test_the_smallest_clear_difference_just_passes_the_first_step(n: int, tests: int) -> None:
    noise = np.arange(n) - (n - 1) / 2
    error = noise.std(ddof=1) / math.sqrt(n)
    for factor, passes in ((1.001, True), (0.999, False)):
        shifted = (noise + factor * min_standard_errors(n, tests) * error).tolist()
        p, _ = paired_p_value(seeded(shifted), seeded([0.0] * n))
        assert (holm([p, *[1.0] * (tests - 1)])[0] < LEVEL) == passes


def test_mean_ranks_are_scipys() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (7, 5)).astype(float)
    expected = scipy.stats.rankdata(-scores, axis=0).mean(1)
    np.testing.assert_allclose(mean_ranks(scores), expected)


def a_study() -> Summary:
    """An autoencoder far from the VAE, a GAN that is near, and one with a single seed."""
    fids = {"vae": [10.0, 11.0, 12.0], "ae": [30.0, 31.5, 32.0], "gan": [9.0, 12.0, 11.5], "other": [50.0]}
    records = [
        a_record(method, seed, {"fid/prior": fid, "psnr/test": 40.0 - fid, "rate/test": fid, "fid/real": 1.0 + seed})
        for method, of_method in fids.items()
        for seed, fid in enumerate(of_method)
    ]
    return summarize(records, rows=["method"], columns=["fid/prior", "psnr/test", "fid/real"], baseline="vae")


def test_what_differs_from_the_baseline_is_marked_in_every_format() -> None:
    summary = a_study()
    p = [
        scipy.stats.ttest_rel([30.0, 31.5, 32.0], [10.0, 11.0, 12.0]).pvalue,
        row(summary, method="gan")["fid/prior.p"],
    ]
    assert row(summary, method="ae")["fid/prior.p"] == pytest.approx(2 * p[0])
    assert p[1] > LEVEL
    assert math.isnan(row(summary, method="vae")["fid/prior.p"])
    assert math.isnan(row(summary, method="other")["fid/prior.p"])  # one pair
    assert summary.table["fid/real.p"].isna().all()
    assert marked_cells(summary) == {("ae", "fid/prior"), ("ae", "psnr/test")}
    assert markdown_row(summary, "ae")[3] == "31 ± 3\N{DAGGER}"
    assert r"31 $\pm$ 3$^{\dagger}$" in to_latex(summary)
    assert "31 ± 3\N{DAGGER}" in to_text(summary)
    assert "fid/prior.p" in to_csv(summary).splitlines()[0]
    (note,) = [note for note in summary.notes if note.startswith("\N{DAGGER}")]
    assert "differs from method=vae by a two-sided paired t test over common seeds (n = 3)" in note
    assert "(at most 2)" in note
    assert f"{min_standard_errors(3, 2):.1f} standard errors" in note
    assert note.partition("<")[0] in to_markdown(summary, title="s")


def test_without_a_baseline_nothing_is_tested() -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"])
    assert marked_cells(summary) == set()
    assert "fid/prior.p" not in summary.table
    assert not any("\N{DAGGER}" in note for note in summary.notes)


def test_one_seed_in_common_is_said_to_be_too_few() -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"], baseline="vae")
    assert "no difference from method=vae was tested: a test needs two or more common seeds" in summary.notes


def test_a_baseline_that_no_row_has_is_said() -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"], baseline="gan")
    assert "no row matches the baseline gan (table.baseline) in method: no difference was tested" in summary.notes


def test_a_row_is_tested_against_the_baseline_of_its_setting_and_data() -> None:
    offsets = {("ae", 1.0): 20.0, ("ae", 4.0): 20.0, ("vae", 1.0): 0.0, ("vae", 4.0): 20.0}
    records = [
        a_record(method, seed, {"fid/prior": offset + seed * seed + (seed % 2) * offset / 100}, beta=beta, data=data)
        for (method, beta), offset in offsets.items()
        for data in ("digits", "mnist")
        for seed in range(5)
    ]
    summary = summarize(records, rows=["method", "beta"], baseline="vae")
    for data in ("digits", "mnist"):
        assert row(summary, method="ae", beta=1.0, data=data)["fid/prior.p"] < 1e-5
        assert math.isnan(row(summary, method="ae", beta=4.0, data=data)["fid/prior.p"])  # equal to its baseline
        assert math.isnan(row(summary, method="vae", beta=4.0, data=data)["fid/prior.p"])
    assert any("differs from method=vae of the same beta by a" in note for note in summary.notes)
    by_beta = summarize(records, rows=["method", "beta"], baseline=1)
    assert row(by_beta, method="vae", beta=4.0, data="mnist")["fid/prior.p"] < 1e-5
    assert math.isnan(row(by_beta, method="ae", beta=4.0, data="mnist")["fid/prior.p"])
    assert any("differs from beta=1 of the same method by a" in note for note in by_beta.notes)


def test_the_mean_rank_is_over_columns_that_all_rows_have() -> None:
    metrics = {
        "ae": {"fid/prior": 3.0, "psnr/test": 9.0, "rate/test": 1.0, "fid/gmm": 1.0, "fid/real": 0.0},
        "vae": {"fid/prior": 2.0, "psnr/test": 8.0, "rate/test": 2.0, "fid/gmm": 2.0, "fid/real": 0.0},
        "gan": {"fid/prior": 1.0, "psnr/test": 7.0, "rate/test": 3.0, "fid/real": 0.0},
    }
    records = [a_record(method, metrics=of_method) for method, of_method in metrics.items()]
    records.append(a_record("bad", metrics={}, status="failed", reason="x"))
    summary = summarize(records, rows=["method"])
    assert [row(summary, method=method)["rank"] for method in metrics] == [2.0, 2.0, 2.0]
    assert math.isnan(row(summary, method="bad")["rank"])
    assert any(note.startswith("mean rank: over the 2 columns") for note in summary.notes)
    without_gan = summarize([records[0], records[1]], rows=["method"])
    assert row(without_gan, method="ae")["rank"] == pytest.approx(4 / 3)


def test_one_column_or_one_row_makes_no_rank() -> None:
    one_column = summarize([a_record("ae"), a_record("vae")], rows=["method"])
    one_row = summarize([a_record(metrics={"fid/prior": 1.0, "psnr/test": 2.0})], rows=["method"])
    for summary in (one_column, one_row):
        assert summary.table["rank"].isna().all()
        assert "rank" not in to_markdown(summary, title="s")
