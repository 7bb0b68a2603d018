"""Measuring a trained run again gives the same numbers, and adds or replaces only what it must."""

import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Finished, composing_quickly, files, latentbench, the_one_line
from latentbench.cli.evaluate import main
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed, options, untrained
from latentbench.evaluation import stored_run
from latentbench.metrics.rate import Rate
from latentbench.records.record import Record, load
from latentbench.records.run_folder import load_images
from latentbench.running import run as running
from latentbench.running.job import LOCK
from latentbench.running.locks import try_lock
from tiny_runs import TINY, digits_are_few, run_tiny

# A metric of images, one of features, one of the model without random numbers, one with, and one of all codes.
METRICS = ("metric=[sharpness,fid,reconstruction,nll,prior_mmd]", "metric.nll.samples=5")
SMALL = ("metric=[rate,distortion,kid]", "sampler=[prior]", "features=pixels")


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with digits_are_few():
        yield


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two metrics and one sampler, to be copied."""
    return run_tiny(tmp_path_factory.mktemp("once"), *SMALL)


@pytest.fixture
def folder(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of such a run, outputs/adhoc/<run>, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(once, tmp_path / "outputs" / "adhoc" / once.name))


@contextmanager
def nothing_is_trained() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "fit", lambda *_, **__: pytest.fail("it was trained"))
        yield


def with_hydra(*arguments: str | Path) -> Finished:
    """latentbench-evaluate, which trains nothing."""
    with nothing_is_trained():
        return latentbench(*map(str, arguments), program=main)


def evaluate(*arguments: str | Path) -> Finished:
    """The same, composed quickly: for what comes after that."""
    with composing_quickly():
        return with_hydra(*arguments)


def record_of(folder: Path) -> Record:
    return load(folder / "record.json")


def numbers(record: Record) -> dict[str, Any]:
    """All that was measured, but for when and by what."""
    facts = {key: fact for key, fact in record.config["resolved"].items() if key != "step_seconds"}
    return {
        "metrics": record.metrics, "standard_errors": record.standard_errors, "skipped": record.skipped,
        "caveats": record.caveats, "facts": facts,
    }  # fmt: skip


def assert_same_images(one: Path, other: Path) -> None:
    first, second = (load_images(folder / "images.npz") for folder in (one, other))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# The same numbers


@functools.cache
def one_of_each_kind() -> list[str]:
    """A method for each model, posterior, prior and set of stored weights."""
    kinds = {}
    for method in options("method"):
        chosen = composed(f"method={method}").hydra.runtime.choices
        weights = untrained(few_digits(), f"method={method}").state_dict()
        kinds[chosen.model, chosen.posterior, chosen.prior, *weights] = method
    return list(kinds.values())


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # of the mixture that is fitted to code words
@pytest.mark.parametrize("start", range(4))
def test_measuring_stored_runs_gives_the_numbers_of_the_end_of_their_training(start: int, tmp_path: Path) -> None:
    methods = one_of_each_kind()[start::4]  # of which one command measures the runs
    folders = [run_tiny(tmp_path, f"method={method}", *METRICS, "sampler=[prior,gmm]") for method in methods]
    stored = [(record_of(folder), load_images(folder / "images.npz"), files(folder)) for folder in folders]
    assert evaluate(*folders, "force=true").code == 0
    for folder, (before, images, content) in zip(folders, stored, strict=True):
        after = record_of(folder)
        assert len(after.evaluations) == 2, folder
        assert {"fid/prior", "sharpness/prior"} <= after.metrics.keys(), folder
        assert numbers(after) == numbers(before), folder
        assert files(folder)["model.safetensors"] == content["model.safetensors"], folder
        again = load_images(folder / "images.npz")
        assert again.keys() == images.keys(), folder
        for name, array in again.items():
            np.testing.assert_array_equal(array, images[name], err_msg=f"{folder}: {name}")


# More numbers


ADDED = {
    "a metric": ("metric=[rate,distortion,kid,reconstruction,prdc]",),
    "a sampler": ("sampler=[prior,gmm]",),
    "both": ("metric=[rate,distortion,kid,sharpness]", "sampler=[prior,gmm,gaussian]"),
    "other features": ("features=[pixels,random]",),
    "validation images": ("measure_against=[test,validation]",),
    "a sampler and validation images": ("sampler=[prior,gmm]", "measure_against=[test,validation]"),
    "other settings": ("metric=[rate,distortion,kid,nll]", "metric.nll.samples=7", "metric.distortion.samples=3"),
    "all": (
        "metric=[rate,distortion,kid,fid]",
        "sampler=[prior,kde]",
        "features=[pixels,random]",
        "metric.distortion.samples=3",
    ),
}


@pytest.mark.parametrize("added", ADDED)
def test_what_is_added_equals_a_run_that_measured_all_at_once(added: str, folder: Path, tmp_path: Path) -> None:
    before = record_of(folder)
    finished = evaluate(folder, *ADDED[added])
    assert finished.code == 0, finished.err
    after = record_of(folder)
    assert "rate/test" in before.metrics
    if "samples" not in str(ADDED[added]):
        assert after.metrics.items() > before.metrics.items()
        assert "is measured again" not in finished.err
    assert f"{folder.name} is trained already; measuring " in finished.err

    at_once = run_tiny(tmp_path / "at_once", *SMALL, *ADDED[added])
    assert at_once.name == folder.name, "what is measured makes no other run"
    assert numbers(after) == numbers(record_of(at_once))
    assert after.config["metric"] == record_of(at_once).config["metric"]
    assert after.choices["metric"] == record_of(at_once).choices["metric"]
    assert_same_images(folder, at_once)


def test_the_command_that_trained_a_run_measures_more_of_it(folder: Path) -> None:
    before = record_of(folder)
    with nothing_is_trained():
        run_tiny(folder.parents[1], "metric=[rate,distortion,kid,reconstruction]", "sampler=[prior]", "features=pixels")
    assert record_of(folder).metrics.keys() - before.metrics.keys() == {"mse/test", "psnr/test", "ssim/test"}
    assert record_of(folder).metrics.items() > before.metrics.items()
    run_tiny(folder.parents[1], *SMALL, outcome="finished before")


def test_a_run_without_its_weights_is_trained_again_and_says_what_it_loses(folder: Path) -> None:
    before = (folder / "record.json").read_bytes()
    (folder / "model.safetensors").unlink()
    command = ("metric=[reconstruction,kid]", "sampler=[prior]", "features=pixels", *TINY)
    with composing_quickly():
        finished = latentbench(*command)
    assert finished.code == 0, finished.err
    (line,) = [line for line in finished.err.splitlines() if "model.safetensors" in line]
    assert "has a record and no model.safetensors: it is trained again" in line
    assert line.endswith(
        "kept as record.old.json; not asked for, and not measured again: metric=distortion, metric=rate"
    )
    assert (folder / "record.old.json").read_bytes() == before
    assert record_of(folder).metrics.keys() >= {"mse/test", "kid/prior@pixels"}


def test_what_is_measured_already_is_not_measured_again(folder: Path) -> None:
    before = files(folder)
    for more in ((), ("metric=[rate]",), ("metric=[kid,distortion,rate]", "sampler=[prior]", "features=pixels")):
        finished = evaluate(folder, *more)
        assert finished.code == 0
        assert "is finished already (force=true measures it again)" in finished.err
    assert files(folder) == before


def test_validation_images_add_numbers_without_measuring_the_others_again(folder: Path) -> None:
    before = record_of(folder)
    finished = evaluate(folder, "measure_against=validation")
    assert "rate against validation images" in finished.err
    after = record_of(folder)
    assert after.config["measure_against"] == ["test", "validation"]
    assert {"kid/prior@pixels@validation", "rate/validation", "distortion/validation"} <= after.metrics.keys()
    assert {name for metric in after.measured.values() for name, i in metric["sets"].items() if i == 0} == {
        name for metric in before.measured.values() for name in metric["sets"]
    }
    assert "is finished already" in evaluate(folder).err, "both are asked for from now on"
    evaluate(folder, "metric.distortion.samples=3")
    changed = {key for key, value in after.metrics.items() if record_of(folder).metrics[key] != value}
    assert changed == {"distortion/test", "distortion/validation"}


# Other settings


def test_changed_settings_replace_numbers_and_say_so(folder: Path) -> None:
    before = record_of(folder)
    finished = evaluate(folder, "metric.distortion.samples=3")
    assert finished.code == 0, finished.err
    assert "metric.distortion.samples=10 becomes 3: what this affects is measured again" in finished.err
    after = record_of(folder)
    assert after.config["metric"]["distortion"]["samples"] == 3
    changed = {key for key in before.metrics.keys() | after.metrics if after.metrics[key] != before.metrics[key]}
    assert changed == {"distortion/test"}


def test_other_features_add_numbers_under_keys_that_name_them(folder: Path) -> None:
    before = record_of(folder)
    finished = evaluate(folder, "features=random", "metric=[kid,rate,fid]", "measure_against=[test,validation]")
    assert "becomes" not in finished.err
    after = record_of(folder)
    assert (before.choices["features"], after.choices["features"]) == (["pixels"], ["pixels", "random"])
    assert after.config["resolved"]["features"] == {"pixels": "pixels", "random": "random_0"}
    assert after.metrics.items() > before.metrics.items()
    assert {"kid/prior@pixels", "kid/prior@random", "kid/prior@random@validation"} <= after.metrics.keys()
    assert "fid/prior@pixels" not in after.metrics, "nobody asked for it"
    assert after.measured["kid"]["sets"].items() > before.measured["kid"]["sets"].items()
    assert after.measured["rate"]["sets"] == {"test": 0, "validation": 1}


def test_changed_features_replace_what_depends_on_them_asked_for_or_not(folder: Path) -> None:
    evaluate(folder, "features=[pixels,random]")
    before = record_of(folder)
    finished = evaluate(folder, "metric=[rate]", "features.random.seed=1")
    assert "features.random.seed=0 becomes 1" in finished.err
    after = record_of(folder)
    changed = {key for key in after.metrics if after.metrics[key] != before.metrics[key]}
    assert changed == {f"kid/{name}@random" for name in ("prior", "real", "reconstruction", "interpolation")}
    assert (after.measured["kid"]["sets"]["prior@random"], after.measured["rate"]["sets"]["test"]) == (2, 0)


def test_a_samplers_changed_settings_replace_its_numbers_alone(folder: Path) -> None:
    assert evaluate(folder, "sampler=[prior,gmm]").code == 0
    before = record_of(folder)
    assert "sampler.gmm.components=10 becomes 2" in evaluate(folder, "sampler.gmm.components=2").err
    after = record_of(folder)
    changed = {key for key in after.metrics if after.metrics[key] != before.metrics[key]}
    assert changed == {"kid/gmm@pixels"}
    assert after.measured["kid"]["sets"] == dict.fromkeys(before.measured["kid"]["sets"], 0) | {"gmm@pixels": 2}


def test_a_record_says_by_which_evaluation_each_number_was_made(folder: Path) -> None:
    evaluate(folder, "metric=[rate,distortion,kid,sharpness]")
    evaluate(folder, "sampler=[prior,gmm]", "metric=[kid]")
    record = record_of(folder)
    assert len(record.evaluations) == 3
    for each in record.evaluations:
        assert {"version", "git_commit", "torch", "processor", "device", "seconds"} == set(each)
    sets = ("prior", "real", "reconstruction", "interpolation")
    assert record.measured == {
        "rate": {"uses_features": False, "sets": {"test": 0}},
        "distortion": {"uses_features": False, "sets": {"test": 0}},
        "kid": {"uses_features": True, "sets": {f"{name}@pixels": 0 for name in sets} | {"gmm@pixels": 2}},
        "sharpness": {"uses_features": False, "sets": dict.fromkeys(sets, 1)},
    }
    assert record.choices["metric"] == ["distortion", "kid", "rate", "sharpness"]
    assert record.choices["sampler"] == ["gmm", "prior"]
    assert record.seconds["evaluate"] == pytest.approx(sum(each["seconds"] for each in record.evaluations), abs=0.01)


# What goes wrong


def broken(*_: Any, **__: Any) -> None:
    raise RuntimeError("out of\nluck")


def test_a_metric_that_raises_costs_itself_and_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Rate, "measure", broken)
        folder = run_tiny(tmp_path, *SMALL, outcome="finished, but a metric failed")
        record = record_of(folder)
        assert record.skipped == {"rate/test": "RuntimeError: out of luck"}
        assert "kid/prior@pixels" in record.metrics
        assert record.measured.keys() == record.config["metric"].keys() == {"kid", "distortion"}
        failed = evaluate(folder, "metric=[rate,distortion,kid]")
        assert failed.code == 1
        assert "metric rate failed; the others are measured" in failed.err
    others = record.metrics
    assert evaluate(folder, "metric=[rate,distortion,kid]").code == 0
    record = record_of(folder)
    assert record.skipped == {}
    assert record.metrics.keys() == others.keys() | {"rate/test"}
    assert record.metrics.items() > others.items()


def test_a_metric_that_raises_when_measured_again_leaves_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Rate, "measure", broken)
        assert evaluate(folder, "force=true", "metric=[rate]").code == 1
    after = record_of(folder)
    assert after.metrics == {key: value for key, value in before.metrics.items() if key != "rate/test"}
    assert after.skipped == {"rate/test": "RuntimeError: out of luck"}
    assert evaluate(folder, "metric=[rate]").code == 0
    assert numbers(record_of(folder)) == numbers(before)


def test_a_crash_between_training_and_measuring_costs_the_measuring_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = record_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr(stored_run, "evaluate", broken)
        crashed = run_tiny(tmp_path / "crashed", *SMALL, outcome="failed")
    record = record_of(crashed)
    assert (record.status, record.reason, record.metrics) == ("trained", "RuntimeError: out of\nluck", {})
    assert evaluate(crashed).code == 0
    assert (record_of(crashed).status, record_of(crashed).reason) == ("finished", None)
    assert numbers(record_of(crashed)) == numbers(whole)
    assert_same_images(crashed, folder)


def test_a_crash_while_measuring_more_leaves_what_was_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(folder)
    with monkeypatch.context() as patch:
        patch.setattr(stored_run, "evaluate", broken)
        assert evaluate(folder, "metric=[fid]").code == 1
    assert files(folder) == before


def test_a_run_that_another_process_works_on_is_one_line(folder: Path) -> None:
    before = files(folder)
    with try_lock(folder / LOCK) as acquired:
        assert acquired
        refused = evaluate(folder, "metric=[fid]")
    assert refused.code == 2
    assert "is locked by another process, which trains or measures it: wait until it has ended" in the_one_line(refused)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("beta=2",),
            "beta is fixed once a run is trained: here you can set metric, sampler, features, measure_against",
        ),
        (("trainer.max_epochs=9",), "trainer.max_epochs is fixed once a run is trained"),
        (("metric.nonsense.samples=3",), "metric.nonsense"),
        (("metric=[nonsense]",), "metric=nonsense: there is no such option; choose one of active_units"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_what_cannot_be_set_is_one_line(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    before = files(folder)
    refused = with_hydra(folder, *arguments)
    assert refused.code == 2
    assert message in the_one_line(refused)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere is not the folder of a trained run: it has no config.yaml"),
        (("study=nothing",), "outputs/nothing has no trained runs: name a run's folder, study=... or sweep=..."),
        (("sweep=quick", "method=vae", "seed=0,1"), "none of the 2 runs is trained: train them with latentbench"),
    ],
)
def test_where_there_is_no_run_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = with_hydra(*arguments)
    assert refused.code == 2
    assert message in the_one_line(refused)


# Several runs


def test_the_runs_of_a_study_are_measured_together(folder: Path) -> None:
    other = run_tiny(folder.parents[1], *SMALL, "seed=1")
    before = {run: record_of(run) for run in (folder, other)}
    finished = evaluate("study=adhoc", "metric=[rate,distortion,kid,reconstruction]")
    assert finished.code == 0
    assert "runs: 2 finished" in finished.err
    for run, record in before.items():
        assert record_of(run).metrics.keys() - record.metrics.keys() == {"mse/test", "psnr/test", "ssim/test"}
    assert "runs: 2 finished before" in evaluate(folder, other).err


def test_a_run_that_cannot_be_used_or_is_locked_keeps_none_of_the_others_from_being_measured(folder: Path) -> None:
    broken, locked = (Path(shutil.copytree(folder, folder.with_name(name))) for name in ("broken", "locked"))
    (broken / "record.json").write_text("{")
    with try_lock(locked / LOCK) as acquired:
        assert acquired
        finished = evaluate("study=adhoc", "metric=[rate,distortion,kid,reconstruction]")
    assert finished.code == 1
    assert "mse/test" in record_of(folder).metrics
    first, second = finished.err.splitlines()[-2:]
    assert first.startswith("latentbench-evaluate: left out: outputs/adhoc/broken/record.json is not valid JSON")
    assert second.startswith("latentbench-evaluate: left out: outputs/adhoc/locked is locked by another process")


def test_of_a_sweep_the_runs_that_are_trained_are_measured(folder: Path) -> None:
    grid = ("sweep=quick", "method=vae", "seed=0,1", "study=adhoc", *TINY)
    finished = evaluate(*grid, "metric=[rate,distortion,kid,reconstruction]")
    assert finished.code == 0, finished.err
    assert "1 of 2 runs are not trained yet" in finished.err
    assert "mse/test" in record_of(folder).metrics
    assert record_of(folder).choices["sampler"] == ["prior"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_processes_of_a_launcher_measure_folders_given_by_relative_path(folder: Path) -> None:
    before = record_of(folder)
    relative = folder.relative_to(Path.cwd())
    finished = evaluate(relative, "metric=[rate,distortion,kid,reconstruction]", "launcher=local", "launcher.n_jobs=1")
    assert finished.code == 0, finished.err
    after = record_of(folder)
    assert after.metrics.keys() - before.metrics.keys() == {"mse/test", "psnr/test", "ssim/test"}
