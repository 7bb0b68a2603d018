"""Tests against the baseline agree with scipy and hand calculation, and false marks are as rare as stated."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from example_records import a_record, markdown_row, row
from latentbench.errors import UserError
from latentbench.reporting.columns import Measures
from latentbench.reporting.significance import (
    LEVEL,
    NOISY,
    POWER,
    Difference,
    Spread,
    difference,
    fit_spread,
    holm,
    mean_and_deviation,
    mean_ranks,
)
from latentbench.reporting.summarize import summarize
from latentbench.reporting.summary import Summary
from latentbench.reporting.tables import to_csv, to_latex, to_markdown, to_text

NAN = math.nan


def marked_cells(summary: Summary) -> set[tuple[str, str]]:
    """Where rows differ from the baseline, as (method, metric)."""
    return {(row.values["method"], key) for row in summary.rows for key, cell in row.cells.items() if cell.differs}


def rows_of(variances: NDArray[np.float64], n: int, random: np.random.Generator) -> list[list[float]]:
    """n draws of mean 0 for each row."""
    values: list[list[float]] = (random.normal(size=(len(variances), n)) * np.sqrt(variances)[:, None]).tolist()
    return values


def test_mean_and_deviation_are_numpys() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 7).tolist()
    assert mean_and_deviation(values) == pytest.approx((np.mean(values), np.std(values, ddof=1)), rel=1e-12)


def test_equal_variances_are_pooled_as_in_the_textbook() -> None:
    rows = [[float(value) for value in range(n)] for n in (3, 5, 4, 3, 6, 5, 4, 4)]
    spread = fit_spread(rows)
    pooled = sum(np.var(values) * len(values) for values in rows) / sum(len(values) - 1 for values in rows)
    assert math.isinf(spread.freedom)
    assert spread.shrink(rows[0]) == (pytest.approx(pooled), 26)


@pytest.mark.parametrize(("freedom", "variance", "n"), [(1.5, 4.0, 3), (6.0, 0.1, 5)])
def test_the_scatter_of_variances_is_found_again(freedom: float, variance: float, n: int) -> None:
    random = np.random.default_rng(0)
    spread = fit_spread(rows_of(variance * freedom / random.chisquare(freedom, 20_000), n, random))
    assert (spread.freedom, spread.variance) == (pytest.approx(freedom, rel=0.1), pytest.approx(variance, rel=0.05))
    own = [value * math.sqrt(variance) for value in (1.0, 2.0, 3.0)]
    shrunk = (spread.freedom * spread.variance + 2 * variance) / (spread.freedom + 2)
    assert spread.shrink(own) == (pytest.approx(shrunk), pytest.approx(spread.freedom + 2))
    noisy = [value * math.sqrt(10 * variance) for value in (1.0, 2.0, 3.0)]
    shrunk = (spread.freedom * spread.variance + 20 * variance) / (spread.freedom + 2)
    is_beyond = 10 * variance / spread.variance > scipy.stats.f.isf(NOISY, 2, spread.freedom)
    assert spread.shrink(noisy)[0] == pytest.approx(10 * variance if is_beyond else shrunk)
    assert is_beyond == (freedom == 6.0), "where variances scatter widely, ten times as much is nothing special"


@pytest.mark.parametrize(("freedom", "certain"), [(5.0, 7.0), (9.0, 10.0), (1e6, 10.0)])
def test_a_row_has_no_more_degrees_of_freedom_than_all_rows_together(freedom: float, certain: float) -> None:
    assert Spread(variance=1.0, freedom=freedom, total=10).shrink([1.0, 2.0, 3.0]) == (pytest.approx(1), certain)


def test_rows_too_few_to_tell_keep_their_own_variances() -> None:
    a, b = [1.0, 2.0, 4.0], [2.0, 7.0, 5.0, 3.0]
    found = difference(a, b, fit_spread([a, b, [1.0]]))
    assert found is not None
    error = math.sqrt(np.var(a, ddof=1) / 3 + np.var(b, ddof=1) / 4)
    welch = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert (found.mean, found.error) == (pytest.approx(7 / 3 - 17 / 4), pytest.approx(error))
    assert found.freedom == pytest.approx(min(welch.df, 3))
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(found.mean) / error, found.freedom))
    assert found.half_width() == pytest.approx(scipy.stats.t.ppf(0.975, found.freedom) * error)


def test_with_a_common_variance_the_test_is_students() -> None:
    rows = [[0.0, 1.0, 2.0, 3.0 + i / 10] for i in range(9)]
    spread = fit_spread(rows)
    quiet = min(rows, key=np.var)
    found = difference(rows[0], quiet, spread)
    assert math.isinf(spread.freedom)
    assert found is not None
    error = math.sqrt(spread.variance / 2)
    assert (found.error, found.freedom) == (pytest.approx(error), 27)
    loud = [value * 100 for value in rows[1]]
    of_loud = difference(rows[0], loud, spread)
    assert of_loud is not None
    assert of_loud.error == pytest.approx(math.sqrt(spread.variance / 4 + np.var(loud, ddof=1) / 4))
    assert of_loud.freedom == pytest.approx(3, rel=0.01), "a baseline is not more certain than its own seeds"


@pytest.mark.parametrize(
    ("values", "baseline"),
    [
        ([1.0], [2.0, 3.0]),
        ([1.0, 2.0], [2.0]),
        ([8.0, 8.0, 8.0], [7.0, 7.0, 7.0]),
        ([0.1 + 0.2, 0.3], [0.1, 0.1]),  # differ by rounding
    ],
)
def test_what_cannot_be_tested_has_no_difference(values: list[float], baseline: list[float]) -> None:
    assert difference(values, baseline, fit_spread([values, baseline])) is None


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


# Row -> its variance: of all alike, of a column in which they scatter, and of a baseline like no other row.
SCATTER: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "equal": lambda random, n: np.ones(n),
    "scattered": lambda random, n: 1 / random.chisquare(1, n),
    "two kinds": lambda random, n: np.where(random.random(n) < 0.2, 1e4, 1.0),
    "a noisy row": lambda random, n: np.array([*np.ones(n - 1), 100.0]),
    "a noisy baseline": lambda random, n: np.array([100.0, *np.ones(n - 1)]),
    "a quiet baseline": lambda random, n: np.array([0.01, *np.ones(n - 1)]),
}


def test_the_interval_of_a_row_ten_times_noisier_than_others_is_wide_enough() -> None:
    random = np.random.default_rng(0)
    missed = 0
    for _ in range(1500):
        rows = rows_of(SCATTER["a noisy row"](random, 38), 5, random)
        found = difference(rows[-1], rows[0], fit_spread(rows))
        assert found is not None
        missed += abs(found.mean) > found.half_width()
    assert missed / 1500 < 0.065, "5 % and three standard errors of 0.5 %; 13 % if its variance is shrunk as others are"


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("scatter", SCATTER)
def test_without_any_difference_at_most_one_column_in_twenty_marks_one(scatter: str, seeds: int) -> None:
    random, wrong, columns = np.random.default_rng(0), 0, 300
    for _ in range(columns):
        rows = rows_of(SCATTER[scatter](random, 9), seeds, random)
        spread = fit_spread(rows)
        found = [difference(values, rows[0], spread) for values in rows[1:]]
        wrong += min(holm([of_row.p for of_row in found if of_row])) < LEVEL
    assert wrong / columns < LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / columns)


@pytest.mark.parametrize("freedom", [2.5, 30.0])
def test_a_difference_that_a_study_could_have_seen_is_found_four_times_of_five(freedom: float) -> None:
    random, tail = np.random.default_rng(0), LEVEL / 16
    of_study = Difference(mean=0.0, error=0.7, freedom=freedom)
    measured = random.normal(of_study.visible(tail), 0.7, 20_000)
    errors = 0.7 * np.sqrt(random.chisquare(freedom, 20_000) / freedom)
    marked = measured > errors * scipy.stats.t.isf(tail, freedom)
    assert marked.mean() == pytest.approx(POWER, abs=0.01)


def test_mean_ranks_are_scipys() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (7, 5)).astype(float)
    expected = scipy.stats.rankdata(-scores, axis=0).mean(1)
    np.testing.assert_allclose(mean_ranks(scores), expected)


FIDS = {"vae": [10.0, 11.0, 12.0], "ae": [30.0, 31.5, 32.0], "gan": [9.0, 12.0, 11.5], "other": [50.0]}
PRIMARY, SECONDARY, SHOWN = "fid/prior", "psnr/test", "ssim/test"


def a_study(**measures: Any) -> Summary:
    """An autoencoder far from the VAE, a GAN that is near, and one with a single seed; in every column alike."""
    records = [
        a_record(method, seed, {PRIMARY: fid, SECONDARY: 40 - fid, SHOWN: 1 - fid / 100, "fid/real": 1.0 + seed})
        for method, of_method in FIDS.items()
        for seed, fid in enumerate(of_method)
    ]
    columns = [PRIMARY, SECONDARY, SHOWN, "fid/real"]
    return summarize(records, rows=["method"], columns=columns, baseline="vae", measures=Measures(**measures))


def test_what_differs_from_the_baseline_is_marked_in_every_format() -> None:
    summary = a_study(primary=PRIMARY, secondary=[SECONDARY])
    spread = fit_spread(FIDS.values())
    of_ae, of_gan = (difference(FIDS[method], FIDS["vae"], spread) for method in ("ae", "gan"))
    assert of_ae is not None
    assert of_gan is not None
    # Two tests in the column: 2 p of the clearest.
    assert row(summary, method="ae")["fid/prior.p"] == pytest.approx(2 * of_ae.p)
    assert row(summary, method="gan")["fid/prior.p"] == pytest.approx(of_gan.p)
    assert math.isnan(row(summary, method="vae")["fid/prior.p"])
    assert math.isnan(row(summary, method="other")["fid/prior.p"])  # one seed
    assert marked_cells(summary) == {("ae", PRIMARY), ("ae", SECONDARY)}
    assert markdown_row(summary, "ae")[3] == "31 ± 3\N{DAGGER}"
    assert r"31 $\pm$ 3$^{\dagger}$" in to_latex(summary)
    assert "31 ± 3\N{DAGGER}" in to_text(summary)
    note, power = (note for note in summary.notes if note.startswith(("\N{DAGGER}", "power")))
    assert "differs from method=vae by two-sided t tests, seeds unpaired" in note
    assert "Tested are fid/prior (2 tests), psnr/test (2 tests)" in note
    assert "5 % at most within each of the 2 columns, 10 % over all" in note
    visible, marked = (
        f"{(of_ae_at(LEVEL / 4) + of_gan_at(LEVEL / 4)) / 2:.2g}"
        for of_ae_at, of_gan_at in ((of_ae.visible, of_gan.visible), (of_ae.half_width, of_gan.half_width))
    )
    assert f"marked in 80 % of such studies if it truly differs by {visible} in fid/prior, {visible} in psnr" in power
    assert f"whatever the other rows do if it is above {marked}, {marked}." in power
    assert note in to_markdown(summary, title="s")


def test_every_column_has_differences_with_intervals_and_the_measures_alone_are_tested() -> None:
    summary = a_study(primary=PRIMARY)
    found = difference(FIDS["ae"], FIDS["vae"], fit_spread(FIDS.values()))
    assert found is not None
    of_ae = row(summary, method="ae")
    assert of_ae["ssim/test.difference"] == pytest.approx(-found.mean / 100)
    assert of_ae["ssim/test.difference.ci95"] == pytest.approx(found.half_width() / 100)
    assert of_ae["fid/prior.p"] == pytest.approx(2 * found.p)
    assert [column for column in to_csv(summary).splitlines()[0].split(",") if column.endswith(".p")] == ["fid/prior.p"]
    # 21 is -0.2 of 1 - fid / 100: the second table of each format
    markdown, latex = to_markdown(summary, title="s").partition("## Diff")[2], to_latex(summary).partition("% Diff")[2]
    shown = f"-0.20 ± {found.half_width() / 100:.2f}"
    assert f"{shown} |" in markdown
    assert shown.replace("-", "$-$").replace("±", r"$\pm$") in latex
    assert "other" not in markdown + latex, "one seed has no interval"
    assert summary.table["fid/real.difference"].isna().all()
    assert marked_cells(summary) == {("ae", PRIMARY)}
    nothing = a_study(primary="fid/gmm")
    assert marked_cells(nothing) == set()
    assert any("no difference from method=vae was tested" in note for note in nothing.notes)
    assert "the primary measure fid/gmm (table.primary) is not a column" in nothing.notes


def test_the_level_holds_for_each_data_set_so_that_marks_do_not_depend_on_others() -> None:
    records = [
        a_record(method, seed, {PRIMARY: fid}, data=data)
        for data in ("digits", "mnist")
        for method, of_method in FIDS.items()
        for seed, fid in enumerate(of_method)
    ]
    summary = summarize(records, rows=["method"], baseline="vae", measures=Measures(primary=PRIMARY))
    found = difference(FIDS["ae"], FIDS["vae"], fit_spread(FIDS.values()))
    assert found is not None
    assert row(summary, method="ae", data="mnist")["fid/prior.p"] == pytest.approx(2 * found.p)
    (note,) = [note for note in summary.notes if note.startswith("\N{DAGGER}")]
    assert "fid/prior (digits) (2 tests), fid/prior (mnist) (2 tests)" in note


@pytest.mark.parametrize(
    ("primary", "secondary", "says"), [("a", ["b", "a"], "leave it out"), ("a", ["b", "c", "d", "e", "f"], "4 at most")]
)
def test_measures_that_make_no_sense_are_one_line(primary: str, secondary: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Measures(primary=primary, secondary=secondary)


def test_a_row_with_a_failed_seed_is_no_best_row_and_has_no_rank() -> None:
    metrics = {method: {PRIMARY: fid, SECONDARY: -fid} for method, fid in (("ae", 1.0), ("vae", 2.0), ("gan", 3.0))}
    records = [a_record(method, seed, metrics[method]) for method in metrics for seed in (0, 1)]
    records[1] = a_record("ae", 1, {}, status="failed", reason="x")
    summary = summarize(records, rows=["method"])
    assert [row.values["method"] for row in summary.rows if row.cells[PRIMARY].is_best] == ["vae"]
    assert math.isnan(row(summary, method="ae")["rank"])
    assert not math.isnan(row(summary, method="gan")["rank"])
    assert any(note.startswith("not all seeds of ae are finished") for note in summary.notes)


def test_a_collapsed_model_is_said_to_be_one() -> None:
    units = {("ae", 0): 0.0, ("ae", 1): 2.0, ("vae", 0): 3.0}
    records = [a_record(*run, {PRIMARY: 1.0, "active_units/test": n}) for run, n in units.items()]
    assert [note for note in summarize(records, rows=["method"]).notes if "posterior collapse" in note] == [
        "caveat: ae (1 of 2): a model with no active latent unit, in so many seeds: codes of images vary by 0.01 "
        "(variance) at most in each coordinate. If its rate is near 0 too (posterior collapse), reconstructions and "
        "samples are nearly all the same"
    ]


def test_rows_near_training_images_are_told_with_the_share_of_copies_that_would_be_as_near() -> None:
    """With a third of the training images compared, copies have 1 - 1/3 of what real images have."""
    ratios = {"gan": (0.9, 0.9), "vae": (0.97, 0.97), "ae": (0.8, 1.0), "wae_mmd": (0.7, 0.72), "aae": (0.9, 0.9)}
    facts = {"resolved": {"train_images": 300, "test_images": 150, "images_per_set": 100, "metrics": {}}}
    records = [
        a_record(
            method,
            seed,
            {PRIMARY: 1.0, "memorization/prior": ratio, "memorization/real": 1.0},
            config=facts,
            standard_errors={"memorization/prior": 0.06 if method == "aae" else 0.02, "memorization/real": 0.01},
        )
        for method, of_seeds in ratios.items()
        for seed, ratio in enumerate(of_seeds)
    ]
    assert [note for note in summarize(records, rows=["method"]).notes if "copies" in note] == [
        "caveat: wae_mmd, gaussian, beta=1 (87 \N{PLUS-MINUS SIGN} 40%); gan, gaussian, beta=1 (30 \N{PLUS-MINUS SIGN} "
        "13%): by memorization/prior, as near to training images as if so many of the images were copies of them. FID, "
        "KID, precision and coverage take copies for good samples"
    ]


def test_without_a_baseline_nothing_is_tested() -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"])
    assert marked_cells(summary) == set()
    assert "fid/prior.p" not in summary.table
    assert not any("\N{DAGGER}" in note for note in summary.notes)


def test_single_seeds_are_said_to_be_too_few() -> None:
    summary = summarize(
        [a_record("ae"), a_record("vae")], rows=["method"], baseline="vae", measures=Measures(primary=PRIMARY)
    )
    assert any(
        note.startswith("no difference from method=vae was tested: a test needs two or more seeds")
        for note in summary.notes
    )


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
    measures = Measures(primary=PRIMARY)
    summary = summarize(records, rows=["method", "beta"], baseline="vae", measures=measures)
    for data in ("digits", "mnist"):
        assert row(summary, method="ae", beta=1.0, data=data)["fid/prior.p"] < 0.01
        assert row(summary, method="ae", beta=4.0, data=data)["fid/prior.p"] > 0.99  # equal to its baseline
        assert math.isnan(row(summary, method="vae", beta=4.0, data=data)["fid/prior.p"])
    assert any("differs from method=vae of the same beta by two-sided" in note for note in summary.notes)
    by_beta = summarize(records, rows=["method", "beta"], baseline=1, measures=measures)
    assert row(by_beta, method="vae", beta=4.0, data="mnist")["fid/prior.p"] < 0.01
    assert row(by_beta, method="ae", beta=4.0, data="mnist")["fid/prior.p"] > 0.99
    assert any("differs from beta=1 of the same method by two-sided" in note for note in by_beta.notes)


def test_weights_of_presets_need_not_be_the_baselines() -> None:
    means = {("vae", 0.1): 20.0, ("vae", 1.0): 0.0, ("vae", 4.0): 40.0, ("ae", 0.1): 20.0, ("beta_vae", 200.0): 20.0}
    records = [
        a_record(method, seed, {PRIMARY: mean + seed % 2}, beta=beta)
        for (method, beta), mean in means.items()
        for seed in range(5)
    ]
    summary = summarize(records, rows=["method"], baseline="vae", measures=Measures(primary=PRIMARY))
    assert summary.keys == ["method", "beta"]
    assert row(summary, method="beta_vae")[f"{PRIMARY}.difference"] == 20.0  # from the vae as it usually is
    assert row(summary, method="ae")[f"{PRIMARY}.difference"] == 0.0  # from that of the same weight
    told = "differs from method=vae (of the same beta if there is one, else as it usually is) by two-sided"
    assert any(told in note for note in summary.notes)


def test_rows_without_a_baseline_are_named() -> None:
    grid = [("vae", 1.0), ("vae", 4.0), ("ae", 1.0), ("ae", 2.0)]
    records = [a_record(method, seed, {PRIMARY: seed}, beta=beta) for method, beta in grid for seed in range(3)]
    summary = summarize(records, rows=["method", "beta"], baseline="vae", measures=Measures(primary=PRIMARY))
    assert "not compared, since there is no method=vae of the same beta: ae, beta=2" in summary.notes


def test_a_column_that_is_the_same_in_all_rows_does_not_rank() -> None:
    metrics = {
        "ae": {"fid/prior": 3.0, "psnr/test": 7.0, "fid/gmm": 1.0},
        "vae": {"fid/prior": 2.0, "psnr/test": 8.0, "fid/gmm": 1.0},
    }
    summary = summarize([a_record(method, metrics=of_method) for method, of_method in metrics.items()], rows=["method"])
    assert [row(summary, method=method)["rank"] for method in metrics] == [2.0, 1.0]
    assert any(note.startswith("mean rank: over the 2 columns") for note in summary.notes)


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
