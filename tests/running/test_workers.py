"""How many runs the launchers of this machine have at a time, and when their workers start."""

import copy
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import joblib
import pytest
import torch

from commands import composing_quickly, latentbench, the_one_line
from latentbench.cli.jobs import _to_job, _with_trial, compose_jobs
from latentbench.configuration.compose import compose_started, hydra_started
from latentbench.contracts.options import composed
from latentbench.launchers import auto, local
from latentbench.launchers.auto import SECONDS_ALONE, Auto
from latentbench.launchers.device_memory import CONTEXT, Memory, measured_memory, runs_that_fit
from latentbench.launchers.local import Local, gpu_places
from latentbench.running.job import Job

GIB = 2.0**30


def job(*overrides: str) -> Job:
    """A run of a sweep."""
    return Job(copy.deepcopy(composed(*overrides)), {}, [], False)


def machine(monkeypatch: pytest.MonkeyPatch, *, processors: int, gpus: int) -> None:
    """What the launchers see of this machine."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: processors)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(auto, "gpu_places", gpu_places)


@pytest.mark.parametrize(
    ("processors", "gpus", "overrides", "at_once"),
    [
        (8, 0, (), 8),
        (8, 0, ("threads=3",), 2),
        (8, 0, ("trainer=ddp", "trainer.devices=4"), 2),
        (2, 0, ("threads=4",), 1),
        (8, 2, (), 2),
        (1, 4, (), 4),
        (8, 2, ("trainer.accelerator=cpu",), 8),
        (8, 4, ("trainer=ddp", "trainer.devices=2"), 2),
        (8, 4, ("trainer=ddp",), 1),
    ],
)
def test_auto_takes_a_worker_per_gpu_or_else_per_processor(
    processors: int, gpus: int, overrides: tuple[str, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, processors=processors, gpus=gpus)
    run = job(*overrides)
    assert Auto(runs_per_device=1)._at_once(run, gpu_places(run), 1, SECONDS_ALONE) == at_once
    assert Auto(runs_per_device=1)._has_workers(run) == (gpus > 0 or at_once > 1)


def test_a_sweep_of_a_few_seconds_stays_in_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, processors=8, gpus=0)
    assert Auto(runs_per_device=1)._at_once(job(), 0, 1, SECONDS_ALONE / 2) == 1


def test_runs_share_a_gpu_as_memory_and_processors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, processors=16, gpus=2)
    run, shared = job(), Auto(runs_per_device="auto")
    assert [shared._at_once(run, 2, fitting, 10.0) for fitting in (1, 3, 100)] == [2, 6, 16]
    assert Auto(runs_per_device=12)._at_once(run, 2, 12, 10.0) == 24, "a number is taken as it is"
    assert [Local(n_jobs=4, runs_per_device="auto")._at_once(run, 2, fitting, 0.0) for fitting in (1, 9)] == [2, 4]
    assert Local(n_jobs=4, runs_per_device="auto")._at_once(run, 0, 1, 0.0) == 4, "without GPUs"


def test_runs_that_fit_take_nine_tenths_of_the_memory() -> None:
    assert runs_that_fit([]) == 1
    assert runs_that_fit([Memory(4 * GIB, 80 * GIB)]) == 18
    assert runs_that_fit([Memory(4 * GIB, 80 * GIB), Memory(9 * GIB, 80 * GIB), Memory(1 * GIB, 60 * GIB)]) == 6
    assert runs_that_fit([Memory(70 * GIB, 80 * GIB)]) == 1
    assert runs_that_fit([Memory(90 * GIB, 80 * GIB)]) == 1


def test_memory_of_a_run_counts_its_context_and_what_others_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "max_memory_reserved": 2 * GIB, "mem_get_info": (50 * GIB, 80 * GIB), "reset_peak_memory_stats": None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert measured_memory([0], is_alone=True) == (2 * GIB + CONTEXT, 50 * GIB + CONTEXT)
    assert measured_memory([0], is_alone=False) == (2 * GIB + CONTEXT, 80 * GIB), "others are runs of the same kind"
    assert measured_memory([0, 1], is_alone=True) is None
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 0)
    assert measured_memory([0], is_alone=True) is None


def test_runs_share_a_gpu_once_the_first_has_told_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    together, most, allowed = [0], [], []

    def work(connection: Connection) -> None:
        while True:
            try:
                _, per_device = connection.recv()
            except EOFError:
                return
            together[0] += 1
            most.append(together[0])
            allowed.append(per_device)
            if per_device > 1:
                all_at_work.wait()
            together[0] -= 1
            connection.send(("finished", Memory(1.0, 3.5)))

    def start_worker() -> tuple[Connection, Any]:
        own_end, worker_end = Pipe()
        threading.Thread(target=work, args=(worker_end,), daemon=True).start()
        return own_end, mock.Mock()

    all_at_work = threading.Barrier(3, timeout=60)
    machine(monkeypatch, processors=8, gpus=1)
    monkeypatch.setattr(local, "_start_worker", start_worker)
    monkeypatch.setattr(Local, "prepare", lambda self, job: None)
    jobs = [job(f"seed={seed}") for seed in range(7)]
    assert Local(n_jobs=8, runs_per_device="auto").launch(jobs) == {"finished": 7}
    assert allowed == [1] + 6 * [3]
    assert max(most) == 3


def test_workers_are_prepared_while_the_runs_of_a_sweep_are_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    machine(monkeypatch, processors=2, gpus=0)
    monkeypatch.setattr(Local, "prepare", lambda self, job: done.append("prepared"))
    monkeypatch.setattr(Local, "launch", lambda self, jobs: done.append(len(jobs)) or {})
    monkeypatch.setattr("latentbench.cli.app.launch", lambda jobs: done.append(len(jobs)))
    monkeypatch.setattr("latentbench.cli.jobs._with_trial", lambda _: done.append("composed") or job())
    with composing_quickly():
        latentbench("-m", "seed=0,1,2")
        latentbench("seed=0")
    assert done == ["composed", "composed", "prepared", "composed", 3, "composed", 1]


def test_runs_that_differ_in_seed_and_size_are_those_that_hydra_composes() -> None:
    found = compose_jobs(["-m", "beta=1,2.5", "seed=0,1", "latent_size=4,2", "study=2024"])
    assert len({tuple(run.overrides) for run in found}) == 8
    with hydra_started():
        for run in (found[3], found[-2]):
            assert _with_trial(_to_job(compose_started(run.overrides), is_alone=False)) == run


def test_the_server_imports_what_the_runs_need_and_the_command_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    context = mock.Mock()
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda method: context)
    monkeypatch.setattr(local.forkserver, "ensure_running", lambda: None)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setenv("TQDM_DISABLE", "0")  # put back afterwards
    run = job()
    run.config.data._target_ = "somebody.elses.Data"  # whose import may fail
    Local(n_jobs=2, runs_per_device=1).prepare(run)
    (modules,) = context.set_forkserver_preload.call_args.args
    assert {"latentbench.running.run", "latentbench.samplers.gaussian_mixture"} <= set(modules)
    assert all(name.startswith("latentbench.") for name in modules)


def test_settings_that_are_no_numbers_of_runs_are_refused() -> None:
    finished = latentbench("launcher.runs_per_device=many", "logger=none")
    assert "launcher.runs_per_device=many: give a whole number, 1 or more, or auto" in the_one_line(finished)
    assert finished.code == 2
