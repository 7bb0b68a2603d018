"""Two kinds of features: the columns stand side by side, and a disagreement beyond chance is told."""

import itertools
import math

import numpy as np
import pytest

from example_records import a_record
from latentbench.records.record import Record
from latentbench.reporting.comparison import any_overlap
from latentbench.reporting.summarize import summarize
from latentbench.reporting.summary import Cell

KEYS = ["fid/prior", "fid/prior@random"]


def records_of(means: dict[str, tuple[float, float]], *, scatter: float = 1.0, seeds: int = 3) -> list[Record]:
    """Methods with these means in two kinds of features."""
    generator = np.random.default_rng(0)
    return [
        a_record(method, seed, {key: mean + scatter * generator.normal() for key, mean in zip(KEYS, both, strict=True)})
        for method, both in means.items()
        for seed in range(seeds)
    ]


def disagreements_of(records: list[Record]) -> list[str]:
    return [note for note in summarize(records, rows=["method"], columns=KEYS).notes if "disagree" in note]


def test_rows_that_two_kinds_of_features_order_in_opposite_ways_are_named() -> None:
    (note,) = disagreements_of(records_of({"ae": (50.0, 20.0), "gan": (30.0, 60.0), "vae": (80.0, 80.0)}))
    assert note.startswith("fid/prior and fid/prior@random disagree: beyond chance, they order 1 of 3 pairs of rows")
    assert "by the first gan before ae." in note


@pytest.mark.parametrize(
    ("means", "scatter", "seeds"),
    [
        ({"ae": (50.0, 20.0), "vae": (80.0, 30.0)}, 1.0, 3),  # they agree
        ({"ae": (50.0, 20.0), "vae": (51.0, 19.0)}, 5.0, 3),  # within chance
        ({"ae": (50.0, 20.0), "vae": (51.0, 10.0)}, 1.0, 3),  # one of them within chance
        ({"ae": (50.0, 20.0), "vae": (80.0, 10.0)}, 1.0, 1),  # one seed says nothing of chance
    ],
)
def test_nothing_is_said_without_a_disagreement_beyond_chance(
    means: dict[str, tuple[float, float]], scatter: float, seeds: int
) -> None:
    assert not disagreements_of(records_of(means, scatter=scatter, seeds=seeds))


def test_rows_that_differ_in_nothing_are_rarely_said_to_disagree() -> None:
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        # The first kind tells all rows apart for certain, the second none.
        records = [
            a_record(str(row), seed, {KEYS[0]: 100.0 * row + generator.normal(), KEYS[1]: generator.normal()})
            for row in range(5)
            for seed in range(3)
        ]
        wrong += bool(disagreements_of(records))
    assert wrong <= 0.08 * 200, "5 % at most; three standard errors"


def test_columns_of_features_that_no_run_has_are_left_out_without_a_word() -> None:
    alone = [a_record(metrics={"fid/prior": 1.0})]
    columns = [*KEYS, "fid/prior@rnadom"]
    summary = summarize(alone, rows=["method"], columns=columns)
    assert [column.key for column in summary.columns] == ["fid/prior"]
    assert any(note.startswith("no record has fid/prior@rnadom (table.columns)") for note in summary.notes)
    assert not any("fid/prior@random" in note for note in summary.notes)
    both = [a_record(metrics={"kid/prior@random": 1.0, "fid/prior": 1.0})]
    assert any(
        "no record has fid/prior@random" in note for note in summarize(both, rows=["method"], columns=KEYS).notes
    )


def test_a_note_says_which_features_made_which_numbers() -> None:
    facts = {"features": {"classifier": "classifier_digits", "random": "random_0"}, "images_per_set": 360}
    metrics = {"fid/prior": 9.0, "fid/prior@random": 1.0}
    notes = summarize([a_record(metrics=metrics, config={"resolved": facts})], rows=["method"]).notes
    compared = "360 images of each set compared with 360 test images"
    assert f"FID: features classifier_digits, {compared}" in notes
    assert f"FID @random: features random_0, {compared}" in notes


def test_whether_any_bounds_overlap_is_what_all_pairs_say() -> None:
    generator, answers = np.random.default_rng(2), []
    for _ in range(500):
        lows = generator.integers(0, 12, 4) / 2
        highs = lows + generator.integers(0, 3, 4) / 2  # points, intervals, shared ends
        cells = [Cell(low=low, high=high) for low, high in zip([*lows, math.nan], [*highs, math.nan], strict=True)]
        answers.append(any(a.overlaps(b) for a, b in itertools.combinations(cells, 2)))
        assert any_overlap(cells) == answers[-1], cells
    assert 100 < sum(answers) < 400
