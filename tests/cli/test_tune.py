"""`latentbench-tune` searches the settings of one method, by validation images, and goes on where it was."""

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from commands import composing_quickly, latentbench, the_one_line
from latentbench.cli import tune
from latentbench.cli.jobs import compose_jobs
from latentbench.cli.pruning import Pruned, Reports
from latentbench.loggers.none import NoLogger
from latentbench.records.record import FILE_NAME, load
from latentbench.running import run
from latentbench.samplers.gaussian_mixture import GaussianMixtureSampler
from tiny_runs import TINY, digits_are_few

COMMAND = ("study=mine", "metric=[fid]", "sampler=[prior]", *TINY)


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with digits_are_few(), composing_quickly():
        yield


def trials() -> list[Any]:
    """What Optuna has stored."""
    return optuna.load_study(study_name=tune.STUDY, storage="sqlite:///outputs/mine/optuna.db").trials


def test_trials_are_runs_and_more_can_be_added() -> None:
    assert latentbench("method=vae", "n=2", *COMMAND, program=tune.main).code == 0
    first = trials()
    told = latentbench("method=vae", "n=3", *COMMAND, program=tune.main)
    assert told.code == 0, told.err
    assert [trial.params for trial in trials()[:2]] == [trial.params for trial in first]
    assert len(trials()) == 3
    for trial in trials():
        record = load(Path(trial.user_attrs["folder"]) / FILE_NAME)
        assert record.config["beta"] == float(f"{trial.params['beta']:.3g}")
        assert record.metrics["fid/prior@validation"] == trial.value
        assert not [key for key in record.metrics if "validation" not in key], "test images choose nothing"
    best = min(trials(), key=lambda trial: trial.value)
    command = shlex.split(told.out.splitlines()[-1])
    assert command[:2] == ["latentbench", "-m"]
    assert {*best.user_attrs["words"], "method=vae", "seed=1,2,3"} <= set(command)


def test_a_factor_of_a_formula_is_told_as_the_formula() -> None:
    told = latentbench("method=rae", "n=1", *COMMAND, program=tune.main)
    assert told.code == 0, told.err
    words = shlex.split(told.out.splitlines()[-1])[2:]
    (job, *_) = compose_jobs([*words, "-m"])
    (trial,) = trials()
    assert job.config.beta == f"{trial.params['beta']:.3g} * (2 * 5e-4 * pixels / latents)"


def test_lists_are_chosen_among() -> None:
    told = latentbench("method=wae_mmd", "n=1", *COMMAND, program=tune.main)
    assert told.code == 0, told.err
    (job, *_) = compose_jobs([*shlex.split(told.out.splitlines()[-1])[2:], "-m"])
    (trial,) = trials()
    assert job.config.regularizer.scales == json.loads(trial.params["regularizer.scales"])


def test_a_trial_that_was_cut_off_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run, "measure", SimpleNamespace(__call__=None))  # fails after the training
        with pytest.raises(TypeError):
            latentbench("method=vae", "n=1", *COMMAND, program=tune.main)
    (cut_off,) = trials()
    assert cut_off.state.name == "RUNNING"
    assert latentbench("method=vae", "n=1", *COMMAND, program=tune.main).code == 0
    (finished,) = trials()
    assert (finished.number, finished.params, finished.state.name) == (0, cut_off.params, "COMPLETE")


def test_no_two_commands_take_a_trial_and_one_whose_command_has_died_is_taken_again(tmp_path: Path) -> None:
    study = optuna.create_study()
    with contextlib.ExitStack() as one:
        assert tune._next_trial(study, tmp_path, one).number == 0
        with contextlib.ExitStack() as another:
            assert tune._next_trial(study, tmp_path, another).number == 1
        with contextlib.ExitStack() as another:
            ended = tune._next_trial(study, tmp_path, another)
            assert ended.number == 1
            study.tell(ended, 1.0)
        with contextlib.ExitStack() as another:
            assert tune._next_trial(study, tmp_path, another).number == 2


def test_a_trial_whose_number_was_left_out_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianMixtureSampler, "refuses", lambda *_: "no mixture today")
    command = [word if word != "sampler=[prior]" else "sampler=[prior,gmm]" for word in COMMAND]
    told = latentbench("method=vae", "n=2", "select=fid/gmm@validation", *command, program=tune.main)
    assert told.out.count("no number: no mixture today") == 2
    assert [trial.state.name for trial in trials()] == ["FAIL", "FAIL"]
    assert told.code == 1


def test_a_trial_that_falls_behind_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda _: True)
    told = latentbench("method=ae", "n=1", *COMMAND, program=tune.main)
    assert told.code == 1
    assert "ended: its validation loss after epoch 1 is worse than that of most trials" in told.out
    (trial,) = trials()
    assert trial.state.name == "PRUNED"
    assert trial.intermediate_values.keys() == {0}
    assert load(Path(trial.user_attrs["folder"]) / FILE_NAME).status == "failed"


def test_no_trial_is_ended_by_losses_with_different_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda _: True)
    assert latentbench("method=vae", "n=1", *COMMAND, program=tune.main).code == 0
    assert [trial.state.name for trial in trials()] == ["COMPLETE"]


def test_losses_are_reported_by_epoch() -> None:
    told: list[tuple[float, int]] = []
    trial = SimpleNamespace(report=lambda loss, epoch: told.append((loss, epoch)), should_prune=lambda: len(told) > 1)
    reports = Reports(trial, NoLogger().start(None))  # type: ignore[arg-type, func-returns-value]
    reports.log_metrics({"train/loss": 1.0, "epoch": 0})
    reports.log_metrics({"validation/loss": 3.0, "epoch": 0})
    with pytest.raises(Pruned, match="after epoch 2"):
        reports.log_metrics({"validation/loss": 4.0, "epoch": 1})
    assert told == [(3.0, 0), (4.0, 1)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("method=vae",), "latentbench-tune: n: give the number of trials"),
        (("n=2", "method=vae"), "latentbench-tune: study: name the study"),
        (("n=2", "study=a", "select=fid/prior"), "latentbench-tune: select=fid/prior: test images choose nothing"),
        (("n=2", "study=a", "sweep=quick"), "latentbench-tune: sweep: leave it out"),
        (
            ("n=2", "study=a", "beta=3"),
            "latentbench-tune: the search chooses beta itself: leave out beta, or its range",
        ),
        (("n=2", "study=a", "trainer=ddp"), "latentbench-tune: trainer=ddp: leave it out"),
        (
            ("n=2", "study=a", "method=gan", "regularizer=mmd"),
            "latentbench-tune: model=gan has no use for regularizer=mmd",
        ),
        (("n=2", "study=a", "method=ae", "regularizer=kl"), "latentbench-tune: KullbackLeibler needs a posterior with"),
        (("n=2", "study=a", "method=null"), "latentbench-tune: the method does not say what may be tuned"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: tuple[str, ...], told: str) -> None:
    finished = latentbench(*arguments, program=tune.main)
    assert finished.code == 2
    assert the_one_line(finished).startswith(told)


@pytest.mark.parametrize(("metric", "rule"), [("nll", "nll/validation"), ("reconstruction", "psnr/validation")])
def test_the_best_are_told_by_their_own_numbers_whichever_way_is_better(metric: str, rule: str) -> None:
    command = [word for word in COMMAND if not word.startswith("metric=")]
    told = latentbench("method=vae", "n=2", f"select={rule}", f"metric=[{metric}]", *command, program=tune.main)
    assert told.code == 0, told.err
    numbers = [load(Path(trial.user_attrs["folder"]) / FILE_NAME).metrics[rule] for trial in trials()]
    best = sorted(numbers, reverse=metric == "reconstruction")
    _, _, shown = told.out.partition("; the best:\n")
    assert [line.split(": ")[1] for line in shown.splitlines()[:2]] == [f"{number:.4g}" for number in best]


def test_a_number_below_0_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    state = SimpleNamespace(name="COMPLETE")
    attributes = {"number": -196.0, "words": ["beta=1.0"]}
    trial = SimpleNamespace(number=0, value=-196.0, state=state, user_attrs=attributes)
    job = SimpleNamespace(overrides=["method=vae"], config=SimpleNamespace(seed=0))
    assert tune._tell_best(SimpleNamespace(trials=[trial]), job) == 0  # type: ignore[arg-type]
    assert "trial 0: -196: beta=1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("nll/validation", "no metric of the trials gives it; choose from fid/interpolation@random@validation, "),
        ("fid/prior@randm@validation", "no metric of the trials gives it"),
        ("fid/gmm@validation", "no metric of the trials gives it"),
    ],
)
def test_a_number_that_trials_will_not_have_is_said_before_the_first(rule: str, told: str) -> None:
    finished = latentbench("method=vae", "n=1", f"select={rule}", *COMMAND, program=tune.main)
    assert finished.code == 2
    assert the_one_line(finished).startswith(f"latentbench-tune: select={rule}: {told}")
    assert not Path("outputs").exists()


def test_of_a_number_without_a_better_way_nothing_is_searched() -> None:
    command = [word for word in COMMAND if not word.startswith("metric=")]
    rule = "select=mutual_information/validation"
    finished = latentbench("method=vae", "n=1", rule, "metric=[aggregate_posterior]", *command, program=tune.main)
    assert the_one_line(finished).endswith("neither more nor less of mutual_information is better")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("method=ae", "its trials have method=vae, not method=ae"),
        ("data=mnist", "its trials have data=digits, not data=mnist"),
        ("select=fid/prior@random@validation", "its trials have select=fid/prior@validation, not "),
        ("trainer.max_epochs=2", "its trials have trainer.max_epochs=1, not trainer.max_epochs=2"),
        ("search.beta={low: 1, high: 2, scale: log}", "its trials have search="),
    ],
)
def test_a_study_has_trials_of_one_search(word: str, told: str) -> None:
    assert latentbench("method=vae", "n=0", *COMMAND, program=tune.main).code == 1
    finished = latentbench("method=vae", "n=0", *COMMAND, word, program=tune.main)
    assert finished.code == 2
    assert the_one_line(finished).startswith(f"latentbench-tune: study=mine: {told}")
    assert latentbench("method=vae", "n=0", *COMMAND, "sampler=[prior,gmm]", program=tune.main).code == 1


def test_the_last_command_has_fresh_seeds_and_all_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    given = ("--config-dir=mine", "method=vae", "seed=1", "n=1")
    told = latentbench(*given, *COMMAND, program=tune.main)
    assert told.code == 0, told.err
    words = shlex.split(told.out.splitlines()[-1])
    assert {f"--config-dir={tmp_path / 'mine'}", "study=mine", "seed=0,2,3", *COMMAND} <= set(words)
    assert "seed=1" not in words
