"""The progress of a run and of a sweep: messages where standard error is a file, bars where it is a terminal."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from commands import latentbench
from latentbench.cli.jobs import compose_jobs
from latentbench.configuration.catalogue import CONF_DIR
from latentbench.configuration.compose import compose_started
from latentbench.configuration.identity import choices
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed
from latentbench.errors import Refused, UserError
from latentbench.evaluation.build import build_seeded_model
from latentbench.running import run
from latentbench.running.job import Job
from latentbench.running.train import fit

pytestmark = pytest.mark.usefixtures("quick_composition")

N_BACKBONES = len(list((CONF_DIR / "backbone").glob("*.yaml")))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Runs do nothing; their choices are collected."""
    asked: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda job, devices: asked.append(choices(job.config, job.options)) or "finished")
    return asked


@pytest.mark.parametrize(
    "command",
    [
        "-m method=vae,gan latent_size=2 backbone.hidden=[16] logger=none",
        "-m sweep=quick method=rae seed=3",
        "study=mine.1 model.learning_rate=1e30 sampler=[prior] metric=[fid,rate] data=mnist data.mirrors=[http://a:9/]",
    ],
)
def test_runs_composed_quickly_are_those_that_hydra_composes(command: str) -> None:
    quick = compose_jobs(command.split())
    with mock.patch("latentbench.cli.jobs.compose_started", compose_started):
        slow = compose_jobs(command.split())
    for one, other in zip(quick, slow, strict=True):
        assert choices(one.config, one.options) == choices(other.config, other.options)
        assert one._replace(options={}) == other._replace(options={})


def counted(err: str) -> list[tuple[int, int]]:
    """k and n of every `run k of n` line."""
    return [(int(k), int(n)) for k, n in re.findall(r"^run (\d+) of (\d+): ", err, re.MULTILINE)]


@pytest.mark.parametrize(
    ("command", "n"),
    [
        ("-m sweep=quick method=vae", 10),
        ("-m sweep=quick method=ae,vae seed=5 beta=1,2", 4),
        ("-m beta=0.1,1,10 latent_size=2,8", 6),
        ("-m seed=range(0,3)", 3),
        ("-m beta=choice(1,2)", 2),
        ("-m backbone=glob(*)", N_BACKBONES),
        ("-m sampler=[prior,gmm],[prior] metric=[fid]", 2),
        ("-m seed=7", 1),
    ],
)
def test_every_run_of_a_sweep_logs_its_number_and_the_total(command: str, n: int, stub: list[dict[str, Any]]) -> None:
    finished = latentbench(*command.split(" "))
    assert finished.code == 0, finished.err
    assert counted(finished.err) == [(k, n) for k in range(1, n + 1)]
    assert len(stub) == n


def test_every_run_of_a_sweep_logs_its_overrides(stub: list[dict[str, Any]]) -> None:
    err = latentbench("-m", "beta=0.1,1", "latent_size=2,8").err
    said = re.findall(r"^run \d of 4: (.*)$", err, re.MULTILINE)
    assert said == [f"beta={beta} latent_size={size}" for beta in ("0.1", "1") for size in (2, 8)]
    assert [(chosen["beta"], chosen["latent_size"]) for chosen in stub] == [(0.1, 2), (0.1, 8), (1.0, 2), (1.0, 8)]


def test_the_sweep_of_a_study_has_its_name_and_its_combinations(stub: list[dict[str, Any]]) -> None:
    finished = latentbench("-m", "sweep=quick", "seed=0")
    assert counted(finished.err) == [(k, 9) for k in range(1, 10)]
    assert {chosen["study"] for chosen in stub} == {chosen["sweep"] for chosen in stub} == {"quick"}
    assert len({chosen["method"] for chosen in stub}) == 9


def test_a_second_sweep_of_a_process_is_counted_anew(stub: list[dict[str, Any]]) -> None:
    assert counted(latentbench("-m", "seed=0,1,2").err)[-1] == (3, 3)
    assert counted(latentbench("-m", "seed=0,1").err) == [(1, 2), (2, 2)]


def test_one_run_alone_is_not_counted(stub: list[dict[str, Any]]) -> None:
    assert counted(latentbench("seed=3").err) == []
    assert len(stub) == 1


def test_a_sweep_ends_with_the_outcomes_of_its_runs(
    stub: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_seed(job: Job, devices: list[int] | None) -> str:
        if job.config.seed == 1:
            raise Refused("it cannot be")
        if job.config.seed == 2:
            raise RuntimeError("out of luck")
        return "finished before" if job.config.seed == 3 else "finished"

    monkeypatch.setattr(run, "run", by_seed)
    finished = latentbench("-m", "seed=range(0,5)")
    assert counted(finished.err)[-1] == (5, 5)
    last = finished.err.splitlines()[-1]
    assert set(last.removeprefix("runs: ").split(", ")) == {"2 finished", "1 refused", "1 failed", "1 finished before"}
    assert finished.code == 1


@pytest.mark.parametrize(
    ("error", "code"), [(Refused("it cannot be"), 0), (UserError("no such data"), 2), (RuntimeError("out of luck"), 1)]
)
def test_the_exit_code_of_a_sweep_tells_whether_anything_needs_fixing(
    error: Exception, code: int, stub: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_goes_wrong(job: Job, devices: list[int] | None) -> str:
        if job.config.seed == 1:
            raise error
        return "finished"

    monkeypatch.setattr(run, "run", second_goes_wrong)
    finished = latentbench("-m", "seed=0,1,2")
    assert finished.code == code
    assert str(error) in finished.err
    assert counted(finished.err)[-1] == (3, 3)


def test_the_time_left_is_logged_between_runs_and_not_after_the_last(
    stub: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10_000, 100))  # every look at the clock is 100 s after the one before
    monkeypatch.setattr("latentbench.launchers.base.time.monotonic", lambda: float(next(now)))
    err = latentbench("-m", "seed=0,1,2").err
    assert re.findall(r"about .* left", err) == ["about 3 min 20 s left", "about 1 min 40 s left"]
    assert err.rindex("left") < err.rindex("run 3 of 3")


def test_a_terminal_gets_a_bar_and_the_messages_above_it(stub: list[dict[str, Any]]) -> None:
    err = latentbench("-m", "seed=0,1", "study=mine", terminal=True).err
    assert "sweep mine" in err
    assert "0/2" in err
    assert "2/2" in err
    assert counted(err.replace("\r", "\n")) == [(1, 2), (2, 2)]


def test_training_has_a_bar_in_epochs_on_a_terminal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    command = ("backbone.hidden=[16]", "trainer.max_epochs=2", "logger=none", "metric=[reconstruction]", "force=true")
    shown = latentbench(*command, "sampler=[prior]", terminal=True).err
    assert "training" in shown
    assert "0/2" in shown
    assert "/2 [" in shown
    quiet = latentbench(*command, "sampler=[prior]", terminal=False).err
    assert "training" not in quiet
    assert "\r" not in quiet


def test_the_bar_of_a_training_shows_the_losses_of_an_epoch_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar, losses = mock.Mock(), []
    shown: list[Any] = []
    monkeypatch.setattr("latentbench.running.progress.tqdm", lambda **_: bar)
    for epochs in (1, 2):
        shown.clear()
        config = composed("backbone.hidden=[16]", f"trainer.max_epochs={epochs}", "logger=none")
        model = build_seeded_model(config, few_digits(32))
        bar.set_postfix = lambda terms, done=model.done: shown.append((done.batches, terms.get("loss")))
        fit(config, model, few_digits(32), tmp_path)
        losses.append(f"{model.done.losses['train/loss']:.4g}")
    assert shown == [(0, None), (1, losses[0])], "the last batch that began, of two an epoch, and what is shown then"
    assert losses[0] != losses[1]


def test_the_first_run_of_a_process_shows_no_messages_of_other_packages(tmp_path: Path) -> None:
    """Lightning, which a run imports after messages are set up, sets its own level."""
    command = ("trainer.max_epochs=1", "metric=[rate]", "logger=none", f"output_dir={tmp_path}")
    done = subprocess.run((sys.executable, "-m", "latentbench", *command), capture_output=True, text=True, check=True)
    folder, shown = (done.stdout + done.stderr).splitlines()
    assert folder.endswith("record.json")
    assert shown.split()[:2] == ["rate", "test"]
