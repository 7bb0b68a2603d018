"""A study's table shows what its records hold: only seeds are averaged over, and nothing is left out silently."""

import csv
import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from example_records import FACTS, a_record, broken_records, markdown_row, row
from latentbench.cli import report
from latentbench.cli.tables import main
from latentbench.errors import UserError
from latentbench.records.record import Record
from latentbench.reporting.columns import Measures
from latentbench.reporting.findings import find
from latentbench.reporting.formats import decimals
from latentbench.reporting.significance import mean_interval
from latentbench.reporting.summary import Summary
from latentbench.reporting.tables import (
    frame,
    load_records,
    summarize,
    to_csv,
    to_latex,
    to_markdown,
    to_text,
)

# For the commands, which compose a config and show nothing of it but what is said of the table: files not to be read.
FEW = ("metric=[fid]", "sampler=[prior]")


def best_cells(summary: Summary) -> set[tuple[int, str]]:
    """Where the best means are, as (position in the table, metric)."""
    return {(row.index, key) for row in summary.lines for key, cell in row.cells.items() if cell.is_best}


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_is_that_of_students_t(n: int) -> None:
    values = np.random.default_rng(n).normal(7.0, 3.0, n)
    low, high = scipy.stats.t.interval(0.95, n - 1, loc=values.mean(), scale=scipy.stats.sem(values))
    mean, interval, count = mean_interval(list(values))
    assert count == n
    assert (mean - interval, mean + interval) == pytest.approx((low, high), rel=1e-9)


def test_one_value_has_no_interval() -> None:
    mean, interval, n = mean_interval([4.0])
    assert (mean, n) == (4.0, 1)
    assert np.isnan(interval)
    summary = summarize([a_record(metrics={"fid/prior": 4.0})], rows=["method"])
    assert markdown_row(summary, "vae") == ["vae", "1", "4.00"]


def test_only_seeds_are_averaged_over() -> None:
    summary = summarize([a_record(seed=seed) for seed in range(3)], rows=["method"])
    assert summary.keys == ["method"]  # paths, loggers and resolved facts differ, and do not matter
    assert row(summary, method="vae")[["fid/prior.mean", "fid/prior.n", "seeds"]].tolist() == [11.0, 3, 3]


def test_runs_that_differ_in_a_choice_are_rows_of_their_own() -> None:
    records = [a_record(seed=s, beta=b, metrics={"fid/prior": b}) for s in range(2) for b in (1.0, 4.0)]
    summary = summarize(records, rows=["method"])
    assert summary.keys == ["method", "beta"]
    assert row(summary, beta=1.0)["fid/prior.mean"] == 1.0
    assert row(summary, beta=4.0)["fid/prior.mean"] == 4.0
    assert "row keys beside method: beta, in which runs differ" in to_text(summary)


def test_runs_that_differ_in_the_config_alone_are_rows_of_their_own() -> None:
    records = [a_record(seed=0, max_epochs=1), a_record(seed=1, max_epochs=50)]
    summary = summarize(records, rows=["method"])
    assert summary.keys == ["method", "trainer.max_epochs"]
    assert row(summary, **{"trainer.max_epochs": 1})["fid/prior.mean"] == 10.0
    assert row(summary, **{"trainer.max_epochs": 50})["fid/prior.mean"] == 11.0


def test_a_note_names_the_rows_whose_training_had_not_converged() -> None:
    def trained(method: str, seed: int, falling: float | None, converged: bool | None) -> Record:
        facts = {"falling": falling, "converged": converged}
        return a_record(method, seed, config={"resolved": {"convergence": facts}})

    runs = [trained("vae", 0, 2.5, False), trained("vae", 1, 0.01, True), trained("ae", 0, 0.01, True)]
    brief, without = trained("beta_vae", 0, None, None), a_record("gan", config={"resolved": {}})
    told, untold = [note for note in summarize([*runs, brief, without], rows=["method"]).notes if "converged" in note]
    assert untold.startswith("not converged: vae, beta=1 (2.5; 1 of 2): the validation loss still fell")
    assert told.startswith("cannot be told whether it had converged: beta_vae, beta=1: fewer than ten epochs")
    assert not [note for note in summarize([runs[2], without], rows=["method"]).notes if "converged" in note]
    annealed = dataclasses.replace(runs[2], choices=runs[2].choices | {"schedule": "warmup_cosine"})
    (note,) = [note for note in summarize([annealed, without], rows=["method"]).notes if "converged" in note]
    assert note.startswith("schedule=warmup_cosine: where the learning rate falls, the loss stops")
    cyclical = dataclasses.replace(runs[0], choices=runs[0].choices | {"annealing": "cyclical"})
    with_critic = trained("aae", 0, 99.0, False)
    with_critic.config["resolved"] |= {"steps": {"model": 5, "critic": 5}, "train_images": 9}
    (note,) = [note for note in summarize([cyclical, with_critic], rows=["method"]).notes if "converged" in note]
    assert note.startswith("cannot be told whether it had converged: aae")
    assert "; vae, cyclical" in note


def test_a_setting_that_only_some_runs_have_tells_rows_apart() -> None:
    records = [a_record(seed=0), a_record(seed=1, config={"prior": {"components": 10}})]
    summary = summarize(records, rows=["method"])
    assert summary.keys == ["method", "prior.components"]
    assert sorted(map(str, summary.table["prior.components"])) == ["10", "\N{EN DASH}"]


def test_runs_that_differ_in_what_was_measured_are_one_row() -> None:
    fid, nll = {"_target_": "a.FID"}, {"_target_": "a.NLL", "samples": 20}
    gmm = {"_target_": "a.GMM", "components": 10}
    records = [
        a_record(seed=0, metrics={"fid/prior": 1.0}, config={"metric": {"fid": fid}}),
        a_record(seed=1, metrics={"fid/prior": 3.0, "nll/test": 5.0}, config={"metric": {"fid": fid, "nll": nll}}),
        a_record(seed=2, metrics={"nll/test": 7.0}, config={"metric": {"nll": nll}, "sampler": {"gmm": gmm}}),
    ]
    summary = summarize(records, rows=["method"])
    assert summary.keys == ["method"]
    cells = row(summary, method="vae")[["seeds", "fid/prior.mean", "fid/prior.n", "nll/test.mean", "nll/test.n"]]
    assert cells.tolist() == [3, 2.0, 2, 6.0, 2]
    assert "(n=2)" in to_text(summary)


def test_a_run_that_was_not_measured_joins_its_row() -> None:
    measured = {"features": {"pixels": {"_target_": "a.Pixels", "scale": 1}}}
    records = [choosing(a_record(seed=0, config=measured), features=["pixels"])]
    records.append(choosing(a_record(seed=1, metrics={}, status="failed"), features=["classifier"]))
    summary = summarize(records, rows=["method"])
    assert summary.keys == ["method"]
    assert row(summary, method="vae")[["seeds", "runs"]].tolist() == [1, 2]


def measured_with(samples: int | None, method: str = "vae", seed: int = 0) -> Record:
    """A run whose nll took `samples`; None: it was not measured."""
    nll = {"nll": {"_target_": "a.NLL", "samples": samples}} if samples else {}
    metrics = {"fid/prior": float(seed)} | ({"nll/test": float(samples)} if samples else {})
    return a_record(method, seed, metrics, config={"metric": nll}, run_id=f"{method}-{samples}-s{seed}")


def test_a_metric_measured_with_different_settings_is_never_averaged_over() -> None:
    records = [measured_with(20), measured_with(5000, seed=1), measured_with(None, seed=2)]
    summary = summarize(records, rows=["method"])
    assert summary.keys == ["method", "metric.nll.samples"]
    assert summary.table["nll/test.n"].tolist() == [1, 1, 0]  # with which the third would be averaged is not known
    assert "row keys beside method: metric.nll.samples, in which runs differ" in to_text(summary)


def test_a_setting_that_an_older_version_lacked_tells_rows_apart() -> None:
    older = a_record(seed=1, config={"metric": {"nll": {"_target_": "a.NLL"}}})
    assert summarize([measured_with(20), older], rows=["method"]).keys == ["method", "metric.nll.samples"]


def test_a_run_without_a_metric_joins_the_other_seeds_of_its_row() -> None:
    records = [measured_with(20), measured_with(None, seed=1), measured_with(5000, method="ae")]
    summary = summarize(records, rows=["method"])
    assert row(summary, method="vae")[["metric.nll.samples", "seeds", "fid/prior.n", "nll/test.n"]].tolist() == [
        20, 2, 2, 1
    ]  # fmt: skip


def test_of_two_records_of_a_run_the_one_with_more_metrics_counts() -> None:
    summary = summarize([measured_with(None), measured_with(20)], rows=["method"])
    assert row(summary, method="vae")[["runs", "nll/test.n"]].tolist() == [1, 1]
    assert any("vae-None-s0 (finished) has the settings and seed of vae-20-s0 (finished)" in n for n in summary.notes)


@pytest.mark.parametrize(
    ("paths", "names"),
    [(("a.Mine", "a.Other"), ["Mine", "Other"]), (("a.Mine", "b.Mine"), ["a.Mine", "b.Mine"])],
)
def test_a_class_is_a_row_name_without_its_module(paths: tuple[str, str], names: list[str]) -> None:
    records = [a_record(seed=seed, config={"prior": {"_target_": path}}) for seed, path in enumerate(paths)]
    summary = summarize(records, rows=["method"])
    assert [line.values["prior._target_"] for line in summary.rows] == names
    named = [
        dataclasses.replace(record, choices=record.choices | {"prior": f"option{seed}"})
        for seed, record in enumerate(records)
    ]
    assert summarize(named, rows=["method"]).keys == ["method", "prior"]


def test_settings_implied_by_a_row_key_are_not_added() -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"])  # the posteriors differ as well
    assert summary.keys == ["method"]
    assert summary.notes == []
    assert summarize([a_record("ae"), a_record("vae")], rows=["beta"]).keys == ["beta", "method"]


def test_a_repeated_run_is_not_a_second_seed() -> None:
    copy = a_record(metrics={"fid/prior": 99.0}, run_id="copy")
    summary = summarize([a_record(), copy, a_record(seed=1)], rows=["method"])
    assert row(summary, method="vae")[["fid/prior.mean", "fid/prior.n", "runs"]].tolist() == [10.5, 2, 2]
    assert "copy (finished) has the settings and seed of vae-digits-b1-e50-s0 (finished)" in to_text(summary, width=500)


def test_a_finished_run_is_preferred_to_its_failed_repetition() -> None:
    failed = a_record(run_id="first", status="failed", metrics={}, reason="killed")
    summary = summarize([failed, a_record()], rows=["method"])
    assert row(summary, method="vae")["status"] == "finished"
    assert row(summary, method="vae")["runs"] == 1


def test_copies_of_a_run_folder_come_after_it(tmp_path: Path) -> None:
    record = a_record()
    dataclasses.replace(record, metrics={"fid/prior": 99.0}).save(tmp_path / "a copy")
    record.save(tmp_path / record.run_id)
    records, _ = load_records(tmp_path)
    assert [found.metrics["fid/prior"] for found in records] == [10.0, 99.0]


def test_a_row_per_seed_can_be_asked_for() -> None:
    summary = summarize([a_record(seed=seed) for seed in range(2)], rows=["method", "seed"])
    assert summary.table["fid/prior.mean"].tolist() == [10.0, 11.0]


@pytest.mark.parametrize("rows", [[], ["colour"]])
def test_rows_that_no_record_has_are_refused(rows: list[str]) -> None:
    with pytest.raises(UserError, match=r"table\.rows"):
        summarize([a_record()], rows=rows)


def test_the_best_follows_the_direction_and_is_never_the_floor() -> None:
    records = [
        a_record("ae", metrics={"fid/prior": 3.0, "fid/real": 1.0, "psnr/test": 20.0, "rate/test": 1.0}),
        a_record("vae", metrics={"fid/prior": 2.0, "fid/real": 1.5, "psnr/test": 10.0, "rate/test": 2.0}),
    ]
    columns = ["fid/prior", "fid/real", "psnr/test", "rate/test"]
    summary = summarize(records, rows=["method"], columns=columns)
    assert markdown_row(summary, "ae") == ["ae", "1", "1.5", "3.00", "1.00", "**20.0**", "1.00"]
    assert markdown_row(summary, "vae") == ["vae", "1", "1.5", "**2.00**", "1.50", "10.0", "2.00"]
    header = markdown_row(summary, "method")
    metrics = ["fid/prior ↓", "fid/real ↓", "psnr/test ↑ (dB)", "rate/test (nats)"]
    assert header == ["method", "seeds", "mean rank", *metrics]


def test_of_rows_that_are_all_the_same_none_is_best() -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"])
    assert not best_cells(summary)


def test_a_metric_without_known_direction_has_no_best() -> None:
    records = [a_record(m, metrics={"odd/x": v}) for m, v in (("ae", 1.0), ("vae", 2.0))]
    assert best_cells(summarize(records, rows=["method"])) == set()
    other = {"resolved": {"metrics": {"fid": {"units": "", "higher_is_better": True}}}}
    summary = summarize([a_record("ae"), a_record("vae", config=other)], rows=["method"])
    assert best_cells(summary) == set()
    assert any("disagree" in note for note in summary.notes)


def test_probabilities_of_levels_are_not_compared_with_densities() -> None:
    def rows(*units: str) -> list[Record]:
        facts = [{"resolved": {"metrics": {"nll": {"units": of, "higher_is_better": False}}}} for of in units]
        return [
            a_record(method, seed, {"nll/test": value + seed / 100}, config=fact)
            for method, value, fact in zip(("ae", "vae"), (1.0, 9.0), facts, strict=True)
            for seed in (0, 1)
        ]

    settings: dict[str, Any] = {"rows": ["method"], "baseline": "vae", "measures": Measures(primary="nll/test")}
    alike, mixed = (summarize(rows("nats", of), **settings) for of in ("nats", "nats of 256 levels"))
    for summary, are_compared in ((alike, True), (mixed, False)):
        assert bool(best_cells(summary)) == are_compared
        assert any(row.cells["nll/test"].differs for row in summary.rows) == are_compared
        assert not any("is not a column" in note for note in summary.notes)
    (note,) = [note for note in mixed.notes if "disagree" in note]
    assert "nll/test (nats; nats of 256 levels): no best is marked, and nothing is tested" in note


BOUNDED = {"resolved": {"metrics": {"kl": {"units": "nats", "higher_is_better": False}, "fid": FACTS["fid"]}}}


def with_bounds(**bounds: tuple[float, float] | float) -> list[Record]:
    """Three seeds of each method, of which a quantity is known from bounds."""
    records = []
    for method, of_method in bounds.items():
        low, high = of_method if isinstance(of_method, tuple) else (of_method, of_method)
        for seed in range(3):
            metrics = {"kl/test": high + 0.01 * seed, "kl_lower/test": low + 0.01 * seed, "fid/prior": high}
            records.append(a_record(method, seed, metrics, config=BOUNDED))
    return records


def test_a_number_known_from_bounds_is_shown_as_an_interval() -> None:
    summary = summarize(with_bounds(ae=(0.2, 0.59), vae=2.0), rows=["method"])
    assert [column.key for column in summary.columns] == ["fid/prior", "kl/test"]
    assert markdown_row(summary, "ae")[-1] == "**0.21 to 0.60 \N{PLUS-MINUS SIGN} 0.02**"
    assert row(summary, method="ae")[["kl/test.low", "kl/test.high"]].tolist() == pytest.approx([0.21, 0.6])
    assert "kl/test: where a cell says a to b" in to_text(summary, width=500)
    upper = a_record(metrics={"mi/test": 1.0, "mi_upper/test": 3.0})
    assert markdown_row(summarize([upper], rows=["method"]), "vae")[-1] == "1.00 to 3.00"
    narrow = summarize(with_bounds(ae=(1.9999, 2.0)), rows=["method"])
    assert markdown_row(narrow, "ae")[-1] == "2.01 \N{PLUS-MINUS SIGN} 0.02"
    for records in (with_bounds(ae=1.0), [a_record(metrics={"kl/test": 1.0})]):
        summary = summarize(records, rows=["method"])
        assert "a to b" not in to_text(summary)
        assert "kl/test.low" not in summary.table


@pytest.mark.parametrize(("low", "is_decided"), [(1.0, True), (0.3, False)])
def test_bounds_that_overlap_decide_nothing(low: float, is_decided: bool) -> None:
    measures = Measures(primary="kl/test")
    summary = summarize(with_bounds(ae=(0.2, 0.5), vae=(low, 2.0)), rows=["method"], baseline="vae", measures=measures)
    assert ("kl/test" in {key for _, key in best_cells(summary)}) == is_decided
    ae = summary.rows[0].cells["kl/test"]
    assert ae.p < 0.001
    assert ae.differs == is_decided
    assert np.isnan(ae.difference), "of a number that is known from bounds alone"
    assert np.isnan(summary.rows[0].rank) != is_decided, "fid alone is too few columns"
    (finding,) = find(summary)
    assert bool(finding.best) == is_decided


def test_every_data_set_has_its_floor_and_its_best() -> None:
    records = [
        a_record(method, data=data, metrics={"fid/prior": fid, "fid/real": real, "sharpness_ratio/prior": 0.5})
        for data, real in (("digits", 1.0), ("mnist", 5.0))
        for method, fid in (("ae", real + 8), ("vae", real + 2))
    ]
    summary = summarize(records, rows=["method"], columns=["fid/prior", "sharpness_ratio/prior"])
    assert summary.table["status"].tolist() == ["floor", "finished", "finished"] * 2
    floors = summary.table[summary.table["status"] == "floor"]
    assert floors["data"].tolist() == ["digits", "mnist"]
    assert floors["fid/prior.mean"].tolist() == [1.0, 5.0]
    assert floors["sharpness_ratio/prior.mean"].tolist() == [1.0, 1.0]
    assert best_cells(summary) == {(2, "fid/prior"), (5, "fid/prior")}  # vae's, on either


def test_data_sets_are_told_apart_even_where_methods_do_not_meet() -> None:
    summary = summarize([a_record("ae", data="digits"), a_record("vae", data="mnist")], rows=["method"])
    assert summary.keys == ["method", "data"]
    assert best_cells(summary) == set()


def test_what_is_measured_against_validation_images_has_a_floor_of_its_own() -> None:
    records = [
        a_record(
            method, metrics={"fid/prior": 9.0, "fid/real": 5.0, "fid/prior@validation": fid, "fid/real@validation": 1}
        )
        for method, fid in (("ae", 7.0), ("vae", 2.0))
    ]
    columns = ["fid/prior", "fid/prior@validation", "fid/real@validation"]
    summary = summarize(records, rows=["method"], columns=columns)
    assert summary.scales[0].floor is not None
    assert [summary.scales[0].floor.cells[key].mean for key in columns] == [5.0, 1.0, 1.0]
    assert [column.is_ranked for column in summary.columns] == [True, True, False]
    assert (2, "fid/prior@validation") in best_cells(summary)
    assert any(note.startswith("@validation: compared with as many validation images") for note in summary.notes)


def test_real_images_prepared_differently_share_no_floor() -> None:
    binary = {"data": {"name": "digits", "binarize": "threshold"}}
    grey = {"data": {"name": "digits", "binarize": "none"}}
    records = [
        a_record("ae", config=grey, metrics={"fid/prior": 3.0, "fid/real": 1.0}),
        a_record("vae", config=binary, metrics={"fid/prior": 2.0, "fid/real": 9.0}),
    ]
    summary = summarize(records, rows=["method"], columns=["fid/prior"])
    assert summary.keys == ["method", "data.binarize"]
    assert summary.table.loc[summary.table["status"] == "floor", "fid/prior.mean"].tolist() == [1.0, 9.0]


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"data": {"name": "digits", "batch_size": 64}}, ["method", "data.batch_size"]),  # how to train
        ({"metric": {"fid": {"images": 100}, "nll": {"samples": 9}}}, ["method"]),  # one metric more
        ({"metric": {"fid": {"images": 999}}}, ["method", "metric.fid.images"]),
        ({"outside": {"data": "b2"}}, ["method", "outside.data"]),  # own data, with other files
        ({"outside": {"data": "a1", "prior": "c3"}}, ["method"]),
    ],
)
def test_rows_measured_differently_share_no_best(config: dict[str, Any], keys: list[str]) -> None:
    usual = {
        "data": {"name": "digits", "batch_size": 32},
        "metric": {"fid": {"images": 100}},
        "outside": {"data": "a1"},
    }
    records = [a_record("ae", config=usual), a_record("vae", metrics={"fid/prior": 11.0}, config=usual | config)]
    records[1].choices["metric"] = ["fid", "nll"]
    summary = summarize(records, rows=["method"])
    assert summary.keys == keys
    assert bool(best_cells(summary)) == (summary.scale_keys == [])


def test_runs_without_a_method_are_rows_named_by_their_parts() -> None:
    records = [choosing(a_record(seed=seed), method=None, regularizer="mmd", prior="normal") for seed in (0, 1)]
    failed = dataclasses.replace(choosing(records[0], prior="laplace"), status="failed", reason="diverged")
    summary = summarize([*records, failed, a_record("vae")], rows=["method"], columns=["fid/prior"])
    assert list(summary.table["method"]) == ["mmd-laplace-gaussian", "mmd-normal-gaussian", "vae"]
    assert "failed: method=null (mmd-laplace-gaussian), 1 run: diverged" in summary.notes


def choosing(record: Record, **choices: Any) -> Record:
    """The record of a run with other choices."""
    return dataclasses.replace(record, choices=record.choices | choices)


def test_shared_settings_that_differ_become_row_keys() -> None:
    ae = choosing(a_record("ae"), backbone="mlp")
    for key, vae in {
        "latent_size": choosing(a_record("vae"), backbone="mlp", latent_size=2),
        "backbone": choosing(a_record("vae"), backbone="conv"),
        "trainer.max_epochs": choosing(a_record("vae", max_epochs=1), backbone="mlp"),
    }.items():
        assert summarize([ae, vae], rows=["method"]).keys == ["method", key]


@pytest.mark.parametrize("key", ["optimizer", "optimizer.weight_decay", "model.learning_rate", "data.flip"])
def test_settings_that_no_preset_accounts_for_become_row_keys(key: str) -> None:
    def run(method: str, value: Any) -> Record:
        group, _, name = key.partition(".")
        parts = {"optimizer": {"weight_decay": 0.0}, "model": {"learning_rate": 1e-3}, "data": {"flip": False}}
        options = {"optimizer": "adam", "model": "autoencoder"} | ({} if name else {group: value})
        return choosing(a_record(method, config=parts | ({group: {name: value}} if name else {})), **options)

    assert summarize([run("ae", 1), run("vae", 2)], rows=["method"]).keys == ["method", key]
    assert summarize([run("ae", 1), run("vae", 1)], rows=["method"]).keys == ["method"]


def test_settings_that_a_preset_a_trial_or_another_setting_accounts_for_are_no_row_keys() -> None:
    def run(method: str, weight: float, classes: int, **model: Any) -> Record:
        record = choosing(a_record(method, beta=weight, config={"model": model}), model="autoencoder", posterior="p")
        record.config["prior"] = record.config["posterior"] = {"classes": classes}
        return record

    preset = [run("vae", 1.0, 10, beta=1.0, beta1=None), run("aae", 2.0, 10, beta=2.0, beta1=0.0)]
    assert summarize(preset, rows=["method"]).keys == ["method"]
    by_hand = [run("vae", 1.0, 10, beta1=None), run("ae", 1.0, 20, beta1=0.5), run("svae", 1.0, 10, beta1=0.9)]
    assert summarize(by_hand, rows=["method"]).keys == ["method", "prior.classes", "model.beta1"]
    chosen_settings: list[dict[str, Any]] = [{}, {"model.beta1": 0.5, "prior.classes": 20}, {"model.beta1": 0.9}]
    for record, chosen in zip(by_hand, chosen_settings, strict=True):
        record.config["resolved"] = {"trial": chosen}
    assert summarize(by_hand, rows=["method"]).keys == ["method"]


def test_a_number_with_a_caveat_is_not_the_best() -> None:
    records = [a_record(method, metrics={"fid/prior": fid}) for fid, method in enumerate(("ae", "vae", "svae"))]
    records[0].caveats["fid/prior"] = "few images"
    rows = summarize(records, rows=["method"]).rows
    assert [row.name.split(",")[0] for row in rows if row.cells["fid/prior"].is_best] == ["vae"]


def test_a_setting_that_overrides_a_preset_becomes_a_row_key() -> None:
    vae = choosing(a_record("vae"), prior="normal")
    laplace_vae = choosing(a_record("laplace_vae"), posterior="laplace", prior="laplace")
    assert summarize([vae, laplace_vae], rows=["method"]).keys == ["method"]
    other = choosing(vae, prior="laplace")
    assert summarize([other, laplace_vae], rows=["method"]).keys == ["method", "prior"]
    assert summarize([a_record("vae"), a_record("beta_vae", beta=2.0)], rows=["method"]).keys == ["method", "beta"]


def test_the_preset_is_that_of_the_record() -> None:
    other = {"preset": {"posterior": "gaussian", "beta": 2.0}}
    usual, unusual = (a_record("vae", beta=beta, **other) for beta in (2.0, 1.0))
    assert summarize([usual], rows=["method"]).keys == ["method"]
    assert summarize([usual, unusual], rows=["method"]).keys == ["method", "beta"]


def test_what_all_runs_override_alike_is_a_note_and_no_part_of_every_name() -> None:
    alike = [a_record(method, beta=1.0, preset={"beta": 2.0}) for method in ("vae", "info_vae")]
    summary = summarize(alike, rows=["method"])
    assert [line.label for line in summary.rows] == ["info_vae", "vae"]
    assert "all runs have beta=1, and not what is usual for their methods" in summary.notes
    own = a_record("beta_vae", beta=1.0, preset={"beta": 1.0})
    assert summarize([*alike, own], rows=["method"]).keys == ["method", "beta"]


def test_a_part_that_a_model_does_not_have_adds_no_row_key() -> None:
    records = [
        choosing(a_record("vae"), likelihood="continuous_bernoulli"),
        choosing(a_record("gan"), likelihood=None, beta=None),
    ]
    assert summarize(records, rows=["method"]).keys == ["method"]


def test_floors_that_differ_within_a_seed_are_noted() -> None:
    records = [a_record(m, metrics={"fid/prior": 3.0, "fid/real": f}) for m, f in (("ae", 1.0), ("vae", 2.0))]
    assert "runs with equal seeds differ in fid/real" in to_text(summarize(records, rows=["method"]))
    other_seed = [records[0], a_record("vae", seed=1, metrics={"fid/prior": 3.0, "fid/real": 2.0})]
    assert "differ in fid/real" not in to_text(summarize(other_seed, rows=["method"]))


def test_refused_failed_and_skipped_runs_are_shown_with_their_reasons() -> None:
    skipped = {"rate/test": "no density"}
    records = [
        *(a_record("bad", s, {}, status="refused", reason="no fit") for s in range(3)),
        a_record("vae", 0, {"fid/prior": 1.0, "rate/test": 5.0}),
        a_record("vae", 1, {"fid/prior": 2.0}, skipped=skipped),
        a_record("vae", 2, {}, status="failed", reason="diverged"),
        a_record("ae", 0, {"fid/prior": 3.0}, skipped=skipped),
        a_record("aa", 0, {"fid/prior": 4.0}),
    ]
    summary = summarize(records, rows=["method"], columns=["fid/prior", "rate/test"])
    assert markdown_row(summary, "bad") == ["bad", "0 of 3", "refused", "refused"]
    assert markdown_row(summary, "ae")[-1] == "\N{EN DASH}"  # skipped
    assert markdown_row(summary, "aa")[-1] == ""  # not measured
    assert markdown_row(summary, "vae")[1::2] == ["2 of 3", "5.00 (n=1)"]
    assert {
        "failed: method=vae, 1 run: diverged",
        "refused: method=bad, 3 runs: no fit",
        "skipped: rate/test of ae; vae: no density",
        "not all seeds of vae are finished: neither best row nor rank, since those left may be the lucky ones",
    } == set(summary.notes)


def test_notes_name_a_method_in_place_of_all_its_rows() -> None:
    skipped = {"rate/test": "no density"}
    records = [a_record("gan", beta=beta, skipped=skipped) for beta in (1.0, 4.0)]
    records += [a_record("ae", beta=1.0), a_record("ae", beta=4.0, skipped=skipped)]
    notes = summarize(records, rows=["method", "beta"], columns=["fid/prior", "rate/test"]).notes
    assert "skipped: rate/test of ae, beta=4; gan: no density" in notes


def test_columns_with_one_caveat_in_the_same_rows_are_noted_together() -> None:
    numbers = {"fid/prior": 1.0, "kid/prior": 1.0, "kid/gmm": 1.0}
    caveats = {"fid/prior": "random", "kid/prior": "random", "kid/gmm": "few"}
    notes = summarize([a_record("vae", 0, numbers, caveats=caveats)], rows=["method"], columns=list(numbers)).notes
    found = [note for note in notes if note.startswith("caveat")]
    assert found == ["caveat: fid/prior, kid/prior of vae: random", "caveat: kid/gmm of vae: few"]


def test_a_caveat_is_noted_with_its_rows_and_as_that_of_one_run_where_numbers_differ() -> None:
    texts = {"vae": ["falls by 1.5e-3", "falls by -2"], "svae": ["falls by 3"], "ae": ["at the edge"], "rae": [""]}
    runs = [
        a_record(method, seed, {"kl/test": 1.0}, caveats={"kl/test": text, "parzen/prior": "not shown"} if text else {})
        for method, of_method in texts.items()
        for seed, text in enumerate(of_method)
    ]
    notes = summarize(runs, rows=["method"], columns=["kl/test"]).notes
    assert [note for note in notes if note.startswith("caveat")] == [
        "caveat: kl/test of ae: at the edge",
        "caveat: kl/test of svae; vae: for example, a run of svae: falls by 3",
    ]


def test_what_is_told_of_images_is_told_of_their_data_set() -> None:
    def of(data: str, count: int, real: float) -> Record:
        facts = {"features": {"classifier": "cnn"}, "images_per_set": count}
        return a_record(data=data, metrics={"fid/prior": 10.0, "fid/real": real}, config={"resolved": facts})

    digits, mnist = of("digits", 360, 4.0), of("mnist", 10000, 0.1)
    notes = summarize([digits, mnist], rows=["method"], columns=["fid/prior"]).notes
    assert "FID of mnist: features cnn, 10000 images of each set compared with 10000 test images" in notes
    (few,) = [note for note in notes if "images are few" in note]
    assert few.startswith("caveat: fid/prior of digits: too high, as images are few, by up to about 8 (")
    alone = summarize([digits], rows=["method"], columns=["fid/prior"]).notes
    assert "FID: features cnn, 360 images of each set compared with 360 test images" in alone


def test_features_are_told_of_numbers_that_have_some() -> None:
    facts = {"features": {"classifier": "cnn", "random": "conv"}, "images_per_set": 360}
    run = a_record(metrics={"nll/test": 3.0, "fid/prior@random": 10.0}, config={"resolved": facts})

    def told(*columns: str) -> list[str]:
        notes = summarize([run], rows=["method"], columns=columns).notes
        return [note for note in notes if note.startswith("FID")]

    assert told("nll/test") == []
    compared = "360 images of each set compared with 360 test images"
    assert told("nll/test", "fid/prior@random") == [f"FID @random: features conv, {compared}"]


@pytest.mark.parametrize(
    ("fid", "error", "is_told"), [(79.0, 50.0, True), (81.0, 50.0, False), (81.0, 7.0, True), (1e3, 8.5, False)]
)
def test_a_bias_of_few_images_is_noted_where_it_is_a_tenth_of_a_number_or_beyond_its_error(
    fid: float, error: float, is_told: bool
) -> None:
    metrics = {"fid/prior": fid, "fid/gmm": 1e4, "fid/real": 4.0, "fid/prior@random": 100.0, "fid/real@random": 1.0}
    errors = {"fid/prior": error, "fid/gmm": 1e3, "fid/prior@random": 10.0}
    columns = ["fid/prior", "fid/gmm", "fid/real", "fid/prior@random", "fid/real@random"]
    found = summarize([a_record(metrics=metrics, standard_errors=errors)], rows=["method"], columns=columns).notes
    told = (
        "caveat: fid/prior, fid/gmm: too high, as images are few, by up to about 8 (twice fid/real): more than a "
        "tenth of numbers below 80, and no standard error contains it"
    )
    assert [note for note in found if note.startswith("caveat")] == [told] * is_told


def test_a_study_without_a_finished_run_has_a_table() -> None:
    summary = summarize([a_record(metrics={}, status="failed", reason="x")], rows=["method"], columns=["fid/prior"])
    assert markdown_row(summary, "vae") == ["vae", "0 of 1", "failed"]
    assert "0 of 1" in to_text(summarize([a_record(metrics={}, status="failed")], rows=["method"]))


def test_a_column_that_no_record_has_is_noted() -> None:
    summary = summarize([a_record()], rows=["method"], columns=["fid/priro", "fid/prior"])
    assert [column.key for column in summary.columns] == ["fid/prior"]
    assert "no record has fid/priro" in to_latex(summary)


def test_versions_that_differ_are_noted() -> None:
    other = {"git_commit": "badcafe", "packages": {"latentbench": "0.2.0"}}
    notes = summarize([a_record(), a_record(seed=1, environment=other)], rows=["method"]).notes
    assert any("2 git commits: badcafe (1 run), c0ffee (1 run)" in note for note in notes)
    assert any("2 latentbench versions: 0.1.0 (1 run), 0.2.0 (1 run)" in note for note in notes)
    assert summarize([a_record(), a_record(seed=1)], rows=["method"]).notes == []


def test_the_csv_keeps_every_digit() -> None:
    third = 1 / 3
    values = [third, 2.0, 7e-9]
    records = [a_record(seed=s, metrics={"fid/prior": v, "fid/real": third}) for s, v in enumerate(values)]
    records.append(a_record("ae", metrics={"fid/prior": 1.0}))
    summary = summarize(records, rows=["method", "latent_size"], columns=["fid/prior"])
    table = pd.read_csv(io.StringIO(to_csv(summary))).set_index("method")
    assert (table.loc["vae", "fid/prior.mean"], table.loc["vae", "fid/prior.ci95"]) == mean_interval(values)[:2]
    assert table.loc["vae", ["seeds", "fid/prior.n", "latent_size"]].tolist() == [3, 3, 8]
    assert table[table["status"] == "floor"]["fid/prior.mean"].tolist() == [np.mean([third] * 3)]
    assert pd.isna(table.loc["ae", "fid/prior.ci95"])
    assert len(next(csv.reader(io.StringIO(to_csv(summary))))) == 9


def test_latex_is_escaped_and_whole() -> None:
    records = [
        a_record(
            "a_b&c%",
            seed=s,
            metrics={"fid/prior": -5.0 - s, "odd_stem/x": 1.0},
            skipped={"rate/test": "50% & more"},
        )
        for s in range(2)
    ]
    latex = to_latex(
        summarize([*records, a_record("z")], rows=["method"], columns=["fid/prior", "odd_stem/x", "rate/test"])
    )
    table = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert table.startswith("\\begin{tabular}{lrrrr}\n\\toprule\n")
    assert table.endswith("\\bottomrule\n\\end{tabular}")
    assert r"method & seeds & fid/prior $\downarrow$ & odd\_stem/x & rate/test (nats) \\" in table
    assert r"a\_b\&c\% & 2 & \textbf{$-$5.5 $\pm$ 6.4} & 1.00 $\pm$ 0.00 & -- \\" in table
    assert table.isascii()


def test_markdown_survives_pipes_and_stars() -> None:
    text = to_markdown(
        summarize([a_record("a|b*"), a_record("beta_vae")], rows=["method"]), title="s", question="Why\n so?"
    )
    assert r"| a\|b\* " in text
    assert "| beta_vae " in text
    assert text.startswith("# s\n\nWhy so?\n\n|")


def test_a_wide_table_is_wrapped_into_blocks() -> None:
    metrics = {f"metric_{i}/of_what": float(i) for i in range(12)}
    text = to_text(summarize([a_record(metrics=metrics)], rows=["method"]), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"metric_{i}/of_what" in text for i in range(12))
    assert sum(line.startswith("vae ") for line in text.splitlines()) > 1


@pytest.mark.parametrize(
    ("mean", "interval", "expected"),
    [(12.3456, 0.4321, 1), (12.3456, 0.1321, 2), (1234.0, 321.0, -2), (0.012345, np.nan, 4), (0.0, 0.0, 0)],
)
def test_decimals_follow_the_interval(mean: float, interval: float, expected: int) -> None:
    assert decimals(mean, interval) == expected


def test_no_cell_loses_its_interval_to_rounding() -> None:
    metrics = {"ae": (100.0, 140.0), "gan": (90.0, 140.0), "vae": (0.012, 0.0124)}
    records = [a_record(m, s, {"fid/prior": v}) for m, pair in metrics.items() for s, v in enumerate(pair)]
    assert markdown_row(summarize(records, rows=["method"]), "vae")[-1] == "**0.012 ± 0.003**"


def test_the_frame_has_a_row_per_run() -> None:
    runs = frame([a_record(seed=0), a_record(seed=1, max_epochs=3)])
    assert runs["seed"].tolist() == [0, 1]
    assert runs["trainer.max_epochs"].tolist() == [50, 3]
    assert runs["fid/prior"].tolist() == [10.0, 11.0]


def test_records_that_cannot_be_used_are_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        a_record(seed=seed).save(tmp_path / "s" / f"run{seed}")
    broken_records(tmp_path / "s")
    assert main([f"output_dir={tmp_path}", "study=s", *FEW]) == 0
    warnings = capsys.readouterr().err.splitlines()
    markdown = (tmp_path / "s" / "table.md").read_text()
    for name in ("cut", "schema", "nan", "word", "seedless"):
        assert sum(f"/{name}/record.json" in line for line in warnings) == 1
        assert f"/{name}/record.json" in markdown
    assert pd.read_csv(tmp_path / "s" / "table.csv")["fid/prior.mean"].tolist() == [10.5]


def test_the_command_names_the_runs_that_failed_and_how_to_leave_them_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = a_record("ae", 0, {}, status="failed", reason="diverged")
    for record in (a_record(), failed):
        record.save(tmp_path / "s" / record.run_id)
    assert main([f"output_dir={tmp_path}", "study=s", *FEW]) == 0
    told = "failed or refused (a run whose folder is deleted is left out):"
    assert f"{told}\n  {tmp_path / 's' / failed.run_id}\n" in capsys.readouterr().out


def test_the_command_writes_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        a_record(seed=seed, beta=4.0).save(tmp_path / "quick" / f"run{seed}")
    arguments = ["sweep=quick", f"output_dir={tmp_path}", "table.rows=beta", "table.columns=[fid/prior]"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "10 ± 6" in printed
    written = {path.name for path in (tmp_path / "quick").glob("table.*")}
    assert written == {"table.md", "table.csv", "table.tex"}
    assert all(str(tmp_path / "quick" / name) in printed for name in written)
    assert "Why regularize" in (tmp_path / "quick" / "table.md").read_text()
    before = {path: path.read_bytes() for path in (tmp_path / "quick").glob("*.*")}
    assert main(arguments) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "quick").glob("*.*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep=nope"], "sweep=nope: there is no such option; choose one of autoencoder, beta"),
        (["sweep=quick"], "/quick: run `latentbench -m sweep=quick output_dir="),
        (["study=mine"], "/mine: run `latentbench study=mine output_dir="),
        (["study=s", "table.rows=[colour]"], "no record has 'colour'"),
        (["study=s", "table=null"], "table.rows is empty"),
        (
            ["study=s", "+table.figures.mine=fid/prior"],
            "table.figures.mine=fid/prior: give an x and a y, such as {x: beta,",
        ),
        (["study=s", "+table.figures.mine={x: beta}"], "table.figures.mine={'x': 'beta'}: give an x and a y"),
        (["study=s", "table.figures={a: {x: beta, y: fid/prior}}"], "add one by +table.figures.<name>="),
        (["study=s", "table.colums=[fid/prior]"], "table.colums: there is no such key; did you mean table.columns?"),
        (["study=s", "publish=maybe"], "publish=maybe: publish must be true or false"),
        (["study=s", "table.columns=[fid/nobody]"], "no record has fid/nobody (table.columns); recorded: fid/prior"),
        (["study=s", "table.columns=[]"], "table.columns is empty; null shows every metric"),
        (["study=s", "from=paper"], "from=paper: choose records or wandb"),
        (["study=s", "method=nope"], "method=nope: there is no such option; choose one of aae"),
        (["beta=="], "beta=="),
        (["colour=red"], "colour"),
        (["question=${nowhere}", "study=s"], "nowhere"),
        (["study=a/b"], "study=a/b"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_record().save(tmp_path / "s" / "run")
    assert main([f"output_dir={tmp_path}", *FEW, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["run"]


def test_a_table_is_written_to_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_record().save(tmp_path / "s" / "run")
    words = ["study=s", f"output_dir={tmp_path}", *FEW, "table.samples=[]"]
    for program in (main, report.main):
        assert program([*words, f"to={tmp_path / 'mine'}"]) == 0
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        "table.md",
        "table.csv",
        "table.tex",
        "report.html",
    }
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["run"]
    assert main([*words, "to=mine", "publish=true"]) == 2
    assert "leave out to=mine" in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_record().save(tmp_path / "s" / "run")
    (tmp_path / "file").touch()
    words = ["study=s", f"output_dir={tmp_path}", *FEW, f"to={tmp_path / 'file'}"]
    assert main(words) == 2
    table, error = capsys.readouterr()
    assert "vae" in table
    assert "written" not in table
    assert re.fullmatch(
        r"latentbench-tables: \S+/file cannot be written \(.+\): to=DIR writes to another folder\n", error
    )
    assert report.main(words) == 2
    assert "to=DIR writes to another folder" in capsys.readouterr().err


@pytest.mark.parametrize("grid", ["null", "{}"])
def test_a_study_with_an_empty_grid_has_a_table_of_what_was_run(
    grid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_record().save(tmp_path / "quick" / "run")
    assert main(["sweep=quick", f"output_dir={tmp_path}", f"hydra.sweeper.params={grid}"]) == 0
    assert "10.0" in capsys.readouterr().out


def test_a_metric_without_records_costs_only_its_column_and_its_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_record().save(tmp_path / "s" / "run")
    arguments = ["table.columns=[fid/prior,fid/nobody]", "+table.figures.f={x: beta, y: fid/nobody}"]
    assert main(["study=s", f"output_dir={tmp_path}", *FEW, *arguments]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "no record has fid/nobody (table.columns); recorded: fid/prior" in text
    assert "no figure f: no row has both beta and fid/nobody" in text
    assert "10.0" in text


def test_help_names_the_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "  quick  " in capsys.readouterr().out


def test_tables_need_no_torch() -> None:
    code = (
        "import sys, latentbench.reporting.tables, latentbench.cli.tables as t; t.main(['sweep=nope']);"
        "print({'torch', 'pytorch_lightning', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
