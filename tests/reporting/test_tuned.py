"""What a tuned study's tables say was chosen, what it cost, and how good the best of fewer trials is."""

import io
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from commands import latentbench, the_one_line
from example_records import a_record
from latentbench.cli import report, tables
from latentbench.records.record import Record
from latentbench.records.tuning import Tune
from latentbench.reporting.summarize import summarize
from latentbench.reporting.tuned import (
    PRESET,
    TUNED,
    best_of,
    best_of_csv,
    choices_csv,
    chosen_rows,
    is_at_edge,
    read_tuned,
)
from latentbench.reporting.tuned_figure import best_of_trials
from latentbench.reporting.tuning_notes import notes

RULE = "fid/prior@validation"
TUNE = Tune(trials=3, seeds=(1000,), select=(RULE,))
RANGE = {"low": 0.01, "high": 100, "scale": "log"}


def a_run(method: str, trial: int, seed: int, value: float | None = None, **fields: Any) -> Record:
    """A run of a trial whose beta is 2^trial, and its learning rate a thousandth of that; a trial scores `value`."""
    beta = 2.0**trial if trial else 1.0
    chosen = {"beta": {**RANGE, "value": beta, "position": 0.2 + 0.25 * trial}}
    config = {"trial": trial, "beta": beta, "model": {"beta": beta}, "trainer": {"max_epochs": 50}}
    record = a_record(method, seed, {"fid/prior": 10.0 + seed + beta}, beta=beta, config=config, **fields)
    if trial:
        record.config["resolved"] = record.config.get("resolved", {}) | {"trial": chosen}
    record.choices["trial"] = trial
    record.seconds["fit"] = 2.0
    if seed in TUNE.seeds:
        record.metrics.clear()
        record.metrics.update({} if value is None else {RULE: value})
    return Record(**(vars(record) | {"run_id": f"{method}-t{trial}-s{seed}"}))


@pytest.fixture
def records() -> list[Record]:
    scored = {"vae": [5.0, 4.0, 3.0, 6.0], "ae": [1.0, 2.0, 3.0, 4.0], "gan": [9.0, None, 7.0, 8.0]}
    trials = [
        a_run(method, trial, 1000, value, **({"status": "failed", "reason": "nan"} if value is None else {}))
        for method, values in scored.items()
        for trial, value in enumerate(values)
    ]
    runs = [("vae", 0), ("vae", 2), ("ae", 0), ("gan", 0), ("gan", 2), ("gan", 1)]
    return trials + [a_run(method, trial, seed) for method, trial in runs for seed in (0, 1)]


def test_the_table_has_the_chosen_runs_beside_the_methods_as_they_are(records: list[Record]) -> None:
    tuned = read_tuned(records, TUNE, ["method"])
    assert {choice.name: choice.trial for choice in tuned.choices} == {"vae": 2, "ae": 0, "gan": 2}
    found = sorted((run.choices["method"], run.choices["trial"], run.run_id) for run in tuned.runs)
    assert found == sorted(
        (method, name, f"{method}-t{trial}-s{seed}")
        for method, best in (("vae", 2), ("ae", 0), ("gan", 2))
        for name, trial in ((PRESET, 0), (TUNED, best))
        for seed in (0, 1)
    )
    assert tuned.n_outdated == 2


def test_a_table_of_trials_alone_shows_their_numbers_against_validation_images(records: list[Record]) -> None:
    trials = [record for record in records if record.choices["seed"] == 1000]
    summary = summarize(trials, rows=["method"], columns=["fid/prior", "kid/prior"])
    assert [column.key for column in summary.columns] == [RULE]
    assert len(summary.rows) == len(trials)
    assert any("shown are those against validation images" in note for note in summary.notes)


def test_notes_tell_what_was_chosen_spent_and_lost(records: list[Record]) -> None:
    text = "\n".join(notes(read_tuned(records, TUNE, ["method"])))
    assert "tuned: by fid/prior@validation, the best of 3 trials" in text
    assert "vae: trial 2 (beta=4)" in text
    assert "gan: trial 2 (beta=4)" in text
    assert "seconds of all trials of a row: 8 to 8" in text
    assert "no trial was better than the method as it is: ae" in text
    assert "spent without a number: gan: 1 failed" in text
    assert "left out: 2 runs" in text
    assert "caveat" not in text
    last = [record for record in records if record.choices["trial"] != 3 or record.choices["method"] != "vae"]
    unfinished = read_tuned(last, TUNE, ["method"])
    assert "nothing is chosen yet of vae: not all trials are spent" in notes(unfinished)
    assert "vae" not in best_of_csv(unfinished)


def test_a_choice_that_no_fresh_run_reaches_has_a_caveat(records: list[Record]) -> None:
    more = [a_run(method, trial, seed) for method, trial in (("vae", 2), ("vae", 0), ("ae", 0)) for seed in range(2, 5)]
    found = notes(read_tuned([*records, *more], TUNE, ["method"]))
    start = "caveat: chosen by a number that no fresh run reaches"  # fresh runs have 10 + seed + beta
    assert [note.rpartition(": ")[2] for note in found if note.startswith(start)] == [
        "vae (3; 14 to 18); ae (1; 11 to 15)"
    ]
    more[0].metrics["fid/prior"] = 2.9
    found = notes(read_tuned([*records, *more], TUNE, ["method"]))
    assert [note.rpartition(": ")[2] for note in found if note.startswith(start)] == ["ae (1; 11 to 15)"]


def test_a_choice_that_is_no_better_than_the_method_as_it_is_is_named(records: list[Record]) -> None:
    (line,) = (note for note in notes(read_tuned(records, TUNE, ["method"])) if note.startswith("tuned is no better"))
    assert line == "tuned is no better than preset (fid/prior, means of fresh runs): vae (14.5; 11.5); gan (14.5; 11.5)"


def test_a_trial_whose_record_is_there_twice_counts_once(records: list[Record]) -> None:
    (again,) = [record for record in records if record.run_id == "vae-t1-s1000"]
    tuned = read_tuned([*records, Record(**(vars(again) | {"run_id": "copied"}))], TUNE, ["method"])
    assert {choice.name: choice.trial for choice in tuned.choices} == {"vae": 2, "ae": 0, "gan": 2}
    assert "copied (finished) has the settings and seed of vae-t1-s1000" in "\n".join(notes(tuned))


def test_a_choice_at_the_edge_of_its_range_has_a_caveat(records: list[Record]) -> None:
    best = [a_run("vae", 3, 1000, 1.0), a_run("vae", 3, 0)]
    tuned = read_tuned([r for r in records if r.run_id != best[0].run_id] + best, TUNE, ["method"])
    assert tuned.choices[0].facts["beta"]["position"] == 0.95
    assert not tuned.choices[0].at_edge
    best[0].config["resolved"]["trial"]["beta"]["position"] = 0.96
    assert any("caveat: chosen at the edge of a range (within 5% of its end): vae (beta=8)" in n for n in notes(tuned))


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ({**RANGE, "value": 1.0, "position": 0.5}, False),
        ({**RANGE, "value": 0.011, "position": 0.04}, True),
        ({"values": [1, 2, 4], "value": 4, "position": 0.9}, True),
        ({"values": [1, 2, 4], "value": 2, "position": 0.5}, False),
        ({"values": ["a", "b", "c"], "value": "a", "position": 0.1}, False),
        ({"values": [0.0, 0.5], "value": 0.5, "position": 0.9}, False),
    ],
)
def test_what_counts_as_an_edge(fact: dict[str, Any], expected: bool) -> None:
    assert is_at_edge(fact) is expected


@pytest.mark.parametrize("n_lost", [0, 2])
def test_the_best_of_n_trials_is_that_of_all_draws_without_replacement(n_lost: int) -> None:
    numbers = [1.0, 2.5, 2.5, 7.0, 11.0][: 5 - n_lost]
    every = [*numbers, *[math.inf] * n_lost]
    for found in best_of([*numbers, *[math.nan] * n_lost]):
        draws = [min(draw) for draw in itertools.combinations(every, found.n)]
        known = [best for best in draws if best < math.inf]
        assert found.mean == pytest.approx(np.mean(known))
        assert [found.low, found.high] == [np.quantile(known, q, method="inverted_cdf") for q in (0.1, 0.9)]


def test_no_trial_with_a_number_has_no_best() -> None:
    assert best_of([math.nan, math.nan]) == []


def test_files_have_a_line_per_method_and_the_figure_a_panel(records: list[Record]) -> None:
    tuned = read_tuned(records, TUNE, ["method"])
    chosen = pd.read_csv(io.StringIO(choices_csv(tuned))).set_index("method")
    assert chosen.loc["vae", f"{RULE}.{TUNED}"] == 3.0
    assert chosen.loc["vae", f"{RULE}.{PRESET}"] == 5.0
    assert chosen.loc["gan", "with_a_number"] == 3
    curves = pd.read_csv(io.StringIO(best_of_csv(tuned)))
    assert curves[curves.method == "vae"]["mean"].tolist() == pytest.approx([13 / 3, 10 / 3, 3.0])
    figure = best_of_trials(tuned, "FID")
    assert figure
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["ae", "vae", "gan"]


def test_figures_show_the_tuned_rows_alone_by_their_names(records: list[Record]) -> None:
    summary = summarize(read_tuned(records, TUNE, ["method"]).runs, rows=["method", "trial"], columns=["fid/prior"])
    assert {row.name for row in summary.rows} >= {"vae, preset", "vae, tuned"}
    shown = chosen_rows(summary)
    assert [row.name for row in shown.rows] == ["ae", "gan", "vae"]
    in_table = [row.index for row in summary.rows if row.values["trial"] == TUNED]
    assert [row.index for row in shown.rows] == in_table, "pages find a figure's row in the table by it"


def test_tables_and_pages_of_a_study_have_one_for_every_rule(records: list[Record], tmp_path: Path) -> None:
    for record in records:
        if "fid/prior@validation" in record.metrics:
            record.metrics["psnr/validation"] = record.metrics[RULE]  # of which more is better
        record.save(tmp_path / "s" / record.run_id)
    words = ["study=s", f"output_dir={tmp_path}", "table.columns=[fid/prior]", "table.baseline=vae", "sampler=[prior]"]
    one = "tune={trials: 3, seeds: [1000], select: fid/prior@validation}"
    told = latentbench(*words, one, program=tables.main)
    assert told.code == 0, told.err
    assert "tuned: by fid/prior@validation" in (tmp_path / "s" / "table.md").read_text()
    assert {"tuning.csv", "best_of_trials.csv", "best_of_trials.png"} <= {p.name for p in (tmp_path / "s").iterdir()}
    several = "tune={trials: 3, seeds: [1000], select: [fid/prior@validation, psnr/validation]}"
    for program in (tables.main, report.main):
        assert latentbench(*words, several, program=program).code == 0
    of_psnr = (tmp_path / "s" / "psnr_validation" / "table.md").read_text()
    assert "gan: 1 failed" in of_psnr
    assert "chosen settings: ae: trial 3 (beta=8); vae: trial 3 (beta=8)" in of_psnr
    assert (tmp_path / "s" / "fid_prior_validation" / "report.html").is_file()
    alone = latentbench(
        *words, "tune={trials: 3, seeds: [0,1,1000], select: fid/prior@validation}", program=tables.main
    )
    assert the_one_line(alone).endswith("or add tune=null, which shows the trials")
