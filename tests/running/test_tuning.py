"""A study that tunes runs its trials against validation images, chooses, and runs what it chose with fresh seeds."""

from pathlib import Path

import pytest

from commands import composing_quickly, latentbench, the_one_line
from example_records import FACTS, a_record
from latentbench.cli import status
from latentbench.errors import UserError
from latentbench.records.keys import VALIDATION, view_of
from latentbench.records.record import Record
from latentbench.records.store import load_records
from latentbench.records.tuning import best_trial, has_ended
from tiny_runs import TINY, digits_are_few

RULE = "mse/validation"
STUDY = (
    "-m", "method=vae,ae", "seed=0,1", *TINY, "metric=[reconstruction,rate]", "sampler=[prior]", "launcher=serial",
    "study=s",
    "tune={trials: 2, seeds: [1000], select: mse/validation}",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tuned")
    with digits_are_few(), composing_quickly():
        finished = latentbench(*STUDY, f"output_dir={root}")
    assert finished.code == 0, finished.err
    return root


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    found, unusable = load_records(folder / "s")
    assert not unusable
    return found


def test_trials_are_measured_against_validation_images_alone_and_what_they_choose_against_test_images(
    records: list[Record],
) -> None:
    trials = [record for record in records if record.choices["seed"] == 1000]
    assert sorted((record.choices["method"], record.choices["trial"]) for record in trials) == [
        (method, trial) for method in ("ae", "vae") for trial in (0, 1, 2)
    ]
    for record in trials:
        keys = {*record.metrics, *record.skipped, *record.caveats, *record.standard_errors}
        assert keys
        assert {view_of(key).split for key in keys} == {VALIDATION}
        assert record.config["measure_against"] == [VALIDATION]
        assert set(record.measured) == {"reconstruction"}, "trials are measured by what the rule looks at alone"
    for record in records:
        if record not in trials:
            assert not any(view_of(key).split == VALIDATION for key in record.metrics)


@pytest.mark.parametrize("method", ["vae", "ae"])
def test_the_best_trial_and_the_method_as_it_is_are_run_with_the_seeds_of_the_grid(
    method: str, records: list[Record]
) -> None:
    of_method = [record for record in records if record.choices["method"] == method]
    trials = {record.choices["trial"]: record for record in of_method if record.choices["seed"] == 1000}
    best = min(trials, key=lambda trial: trials[trial].metrics[RULE])
    chosen = [record for record in of_method if record.choices["seed"] != 1000]
    assert {(record.choices["trial"], record.choices["seed"]) for record in chosen} == {
        (trial, seed) for trial in (0, best) for seed in (0, 1)
    }
    for record in chosen:
        assert record.config["model"] == trials[record.choices["trial"]].config["model"]


def test_the_same_command_has_nothing_left_to_do(folder: Path, records: list[Record]) -> None:
    with digits_are_few(), composing_quickly():
        again = latentbench(*STUDY, f"output_dir={folder}")
    assert again.code == 0
    assert f"runs: {len(records)} finished before" in again.err


def test_status_tells_both_stages(folder: Path, records: list[Record], tmp_path: Path) -> None:
    n = sum(record.choices["seed"] != 1000 for record in records)
    with composing_quickly():
        told = latentbench(*STUDY, f"output_dir={folder}", program=status.main).out.splitlines()
        before = latentbench(*STUDY, f"output_dir={tmp_path}", program=status.main).out.splitlines()
    chosen = ["what they choose, as far as it is known:", f"{n} finished, of {n} runs"]
    assert told == ["trials:", "6 finished, of 6 runs", "", *chosen]
    assert before[1] == "6 not started, of 6 runs"
    assert before[-1] == "nothing: no method has spent all its trials"


def test_a_rule_that_looks_at_what_no_trial_has_is_refused_once_that_is_known(folder: Path) -> None:
    told = latentbench(*STUDY, "tune.select=mse/prior@validation", f"output_dir={folder}", program=status.main)
    assert "tune.select=mse/prior@validation: no trial has it; choose from " in the_one_line(told)
    assert RULE in told.err


def test_a_rule_that_no_metric_of_the_study_measures_is_refused_before_the_trials(tmp_path: Path) -> None:
    told = latentbench(*STUDY, "tune.select=[mse/validation,nll/validation]", f"output_dir={tmp_path}")
    assert told.code == 2
    assert "tune.select: no metric of the study measures nll" in the_one_line(told)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tune", "says"),
    [
        ("{trials: 2, seeds: [1000], select: mse/test}", "tune.select=mse/test: test images choose nothing"),
        ("{trials: 2, seeds: [1000], select: [fid/prior@validation,fid/prior]}", "tune.select=fid/prior: test images"),
        ("{trials: 2, seeds: [0], select: mse/validation}", "seed=0 is one of the trials'"),
        ("{trials: 0, seeds: [1000], select: mse/validation}", "tune.trials=0"),
        ("{trials: 2, seeds: 1000, select: mse/validation}", "tune.seeds=1000: give a list"),
        ("{trials: 2}", "tune={'trials': 2}: give {trials: 16"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(tune: str, says: str, tmp_path: Path) -> None:
    told = latentbench(*STUDY[:-1], f"tune={tune}", f"output_dir={tmp_path}")
    assert says in the_one_line(told)
    assert told.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["method=null"], "method=null (kl-normal-gaussian) does not say what may be tuned"),
        (["trial=1"], "a study that tunes chooses it"),
        (["beta=2"], "trial=1 chooses beta itself"),
    ],
)
def test_what_a_trial_cannot_do_is_refused(words: list[str], says: str, tmp_path: Path) -> None:
    told = latentbench(*STUDY, *words, f"output_dir={tmp_path}")
    assert says in the_one_line(told)
    assert told.code == 2


def test_one_run_has_no_trials(tmp_path: Path) -> None:
    told = latentbench(STUDY[-1], f"output_dir={tmp_path}")
    assert "add -m" in the_one_line(told)


def a_trial(value: float | None, seed: int = 1000, **fields: object) -> Record:
    return a_record(seed=seed, metrics={} if value is None else {"psnr/validation": value}, **fields)  # type: ignore[arg-type]


def test_the_rule_knows_what_is_better_and_takes_the_first_of_equal_ones() -> None:
    assert FACTS["psnr"]["higher_is_better"]
    assert best_trial({0: [a_trial(1.0)], 1: [a_trial(3.0)], 2: [a_trial(3.0)]}, "psnr/validation") == 1
    fids = [a_record(metrics={"fid/prior@validation": value}) for value in (2.0, 1.0)]
    assert best_trial(dict(enumerate([[fid] for fid in fids])), "fid/prior@validation") == 1
    with pytest.raises(UserError, match="neither more nor less of rate is better"):
        best_trial({0: [a_record(metrics={"rate/validation": 1.0})]}, "rate/validation")


def test_a_trial_that_failed_or_was_refused_is_spent_and_never_chosen() -> None:
    failed, refused = a_trial(None, status="failed"), a_trial(None, status="refused")
    unmeasured = a_trial(None, status="trained", reason="OSError: full")
    assert all(map(has_ended, (failed, refused, unmeasured, a_trial(1.0))))
    assert not has_ended(None)
    assert not has_ended(a_trial(None, status="trained"))
    assert best_trial({0: [a_trial(1.0)], 1: [failed], 2: [refused]}, "psnr/validation") == 0
    assert best_trial({0: [failed]}, "psnr/validation") is None
    of_one_seed = [a_trial(9.0), a_trial(None, 1001, status="failed")]
    assert best_trial({0: [a_trial(1.0), a_trial(1.0, 1001)], 1: of_one_seed}, "psnr/validation") == 0
