"""`latentbench-status` tells every state of a run, and touches nothing."""

from pathlib import Path

import pytest

from commands import files, latentbench
from example_records import a_record
from latentbench.cli import status
from latentbench.cli.jobs import compose_jobs
from latentbench.running.job import CHECKPOINT, LOCK, ResolvedRun, resolve
from latentbench.running.locks import try_lock

STUDY = ("method=vae,ae,gan", "seed=0,1", "study=s", "metric=[]", "sampler=[]")


@pytest.fixture
def runs(tmp_path: Path) -> list[ResolvedRun]:
    return [resolve(job) for job in compose_jobs([*STUDY, f"output_dir={tmp_path}", "-m"])]


def test_every_state_is_told_with_reasons_and_the_time_left(runs: list[ResolvedRun], tmp_path: Path) -> None:
    finished, failed, refused, cut_off, running, trained = (run.folder for run in runs)
    a_record("vae", seconds={"fit": 50.0, "evaluate": 10.0}).save(finished)
    a_record("vae", 1, {}, status="failed", reason="the loss is nan").save(failed)
    a_record("ae", 0, {}, status="refused", reason="no density").save(refused)
    a_record("gan", 1, {}, status="trained").save(trained)
    for folder in (cut_off, running):
        folder.mkdir(parents=True)
        (folder / CHECKPOINT).touch()
    (running / LOCK).touch()
    before = files(tmp_path)
    with try_lock(running / LOCK):
        told = latentbench(*STUDY, f"output_dir={tmp_path}", program=status.main)
    assert told.out.splitlines() == [
        "1 finished, 1 running, 1 interrupted, 1 trained, 1 failed, 1 refused, of 6 runs",
        "about 2 min left with 1 at a time, 60 s a run",  # two of them, and ten seconds to measure the trained one
        f"interrupted: {cut_off.name}",
        f"running: {running.name}",
        f"trained: {trained.name}",
        "failed: method=vae, 1 run: the loss is nan",
        "refused: method=ae, 1 run: no density",
    ]
    assert (told.code, told.err) == (0, "")
    assert files(tmp_path) == before


def test_a_record_cut_short_is_told(runs: list[ResolvedRun], tmp_path: Path) -> None:
    a_record().save(runs[0].folder)
    content = (runs[0].folder / "record.json").read_bytes()
    (runs[0].folder / "record.json").write_bytes(content[:50])
    assert status.status_lines(runs) == ["1 damaged, 5 not started, of 6 runs", f"damaged: {runs[0].folder.name}"]


def test_the_command_that_started_a_sweep_can_be_given_as_it_was(runs: list[ResolvedRun], tmp_path: Path) -> None:
    assert latentbench("-m", *STUDY, f"output_dir={tmp_path}", program=status.main).out == "6 not started, of 6 runs\n"


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    told = latentbench("sweep=nope", f"output_dir={tmp_path}", program=status.main)
    assert told.code == 2
    assert told.err.startswith("latentbench-status: sweep=nope: there is no such option")
    assert told.err.count("\n") == 1


def test_a_study_alone_names_no_runs(tmp_path: Path) -> None:
    told = latentbench("study=s", f"output_dir={tmp_path}", program=status.main)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("latentbench-status: name the runs by the arguments of the command that runs them")


def test_help_is_given() -> None:
    assert "latentbench-status sweep=quick" in latentbench("--help", program=status.main).out
