"""A run from the command line to the files it leaves; and the outcomes of runs that cannot finish."""

import contextlib
import functools
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from omegaconf import OmegaConf
from safetensors.torch import load_file

from commands import Started, files, latentbench, the_one_line
from latentbench.cli import log as log_command
from latentbench.cli.jobs import compose_jobs
from latentbench.configuration.identity import run_id
from latentbench.contracts.options import composed
from latentbench.data.base import Batches
from latentbench.data.digits import Digits
from latentbench.evaluation import build
from latentbench.models.base import GenerativeModel
from latentbench.records.keys import is_floor
from latentbench.records.run_folder import load_images
from latentbench.running import job, run
from latentbench.samplers.gaussian_mixture import GaussianMixtureSampler
from wandb_runs import summary, the_folder

pytestmark = pytest.mark.usefixtures("quick_composition")

KEYS = {
    "schema", "run_id", "study", "status", "choices", "metrics", "standard_errors", "skipped", "caveats", "reason",
    "config", "seconds", "n_parameters", "environment", "preset", "measured", "evaluations",
}  # fmt: skip
CHOICES = {
    "method", "data", "model", "backbone", "posterior", "prior", "regularizer", "likelihood", "objective", "annealing",
    "sampler", "features", "metric", "optimizer", "schedule", "trainer", "logger", "launcher", "sweep",
    "trial", "seed", "beta", "latent_size", "study", "output_dir", "force",
}  # fmt: skip
SMALL = ("backbone.hidden=[16]", "trainer.max_epochs=1", "logger=none")
EVERY_METRIC = (*SMALL, "metric.nll.samples=5")
QUICK = (*SMALL, "metric=[reconstruction]", "sampler=[prior]")
SAMPLERS = ("prior", "gaussian", "gmm")


def records(output_dir: Path, study: str = "adhoc") -> list[dict[str, Any]]:
    """Every record of a study."""
    return [json.loads(path.read_text()) for path in sorted((output_dir / study).glob("*/record.json"))]


def the_record(output_dir: Path, study: str = "adhoc") -> dict[str, Any]:
    """The only record of a study."""
    (record,) = records(output_dir, study)
    return record


def folder_of(record: dict[str, Any], output_dir: Path) -> Path:
    """The folder of a run."""
    return output_dir / record["study"] / record["run_id"]


@functools.cache
def name_of(*overrides: str) -> str:
    """The id of the run that a command would make."""
    config = composed(*overrides)
    chosen = config.hydra.runtime.choices
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return job.resolve(job.Job(config, chosen, [], is_alone=True)).folder.name


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one finished run with every metric; read-only."""
    output_dir = tmp_path_factory.mktemp("vae")
    finished = latentbench(*EVERY_METRIC, f"output_dir={output_dir}")
    assert finished.code == 0, finished.err
    return output_dir


@pytest.fixture(scope="module")
def quick_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one finished run of one metric, to be copied."""
    folder = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert latentbench(*QUICK).code == 0
    assert {path.name for path in folder.iterdir()} == {"outputs"}
    return folder / "outputs"


@pytest.fixture
def quick(quick_once: Path, tmp_path: Path) -> Path:
    """The output folder of one finished run with one metric; a test may write to it."""
    return Path(shutil.copytree(quick_once, tmp_path / "outputs"))


# The files of a run


def test_a_record_has_the_promised_keys_and_no_others(vae: Path) -> None:
    record = the_record(vae)
    assert set(record) == KEYS
    assert set(record["choices"]) == CHOICES
    assert record["schema"] == 4
    assert (record["status"], record["reason"], record["skipped"]) == ("finished", None, {})


def test_a_record_is_where_it_says(vae: Path) -> None:
    record = the_record(vae)
    assert (vae / "adhoc" / record["run_id"] / "record.json").is_file()
    assert record["study"] == "adhoc"
    assert record["choices"]["output_dir"] == str(vae)


def test_records_land_in_outputs_of_the_working_directory(quick: Path) -> None:
    assert the_record(quick)["choices"]["output_dir"] == "outputs"


def test_every_study_has_its_own_folder(tmp_path: Path) -> None:
    latentbench(*QUICK, "study=mine.1", "output_dir=deep/below")
    assert the_record(tmp_path / "deep" / "below", "mine.1")["study"] == "mine.1"


def test_choices_say_what_was_chosen(vae: Path) -> None:
    chosen = the_record(vae)["choices"]
    assert chosen | {"method": "vae", "data": "digits", "posterior": "gaussian", "prior": "normal"} == chosen
    assert chosen | {"seed": 0, "beta": 1.0, "latent_size": 8, "force": False, "sweep": None} == chosen
    assert chosen["sampler"] == sorted(SAMPLERS)
    assert "fid" in chosen["metric"]


def test_every_promised_metric_is_a_finite_number(vae: Path) -> None:
    metrics = the_record(vae)["metrics"]
    promised = {f"{of}/test" for of in ("nll", "bits_per_dim", "mse", "psnr", "rate", "distortion")}
    promised |= {f"fid/{of}" for of in (*SAMPLERS, "reconstruction", "real")}
    promised |= {f"{of}/{sampler}" for of in ("sharpness", "sharpness_ratio", "parzen") for sampler in SAMPLERS}
    assert promised <= set(metrics)
    assert {key for key, value in metrics.items() if type(value) is not float or not math.isfinite(value)} == set()


def test_metrics_agree_with_each_other(vae: Path) -> None:
    metrics = the_record(vae)["metrics"]
    assert metrics["psnr/test"] == pytest.approx(-10 * math.log10(metrics["mse/test"]), abs=0.5)
    assert metrics["bits_per_dim/test"] == pytest.approx(metrics["nll/test"] / 64 / math.log(2))
    assert metrics["sharpness_ratio/gmm"] / metrics["sharpness/gmm"] == pytest.approx(
        metrics["sharpness_ratio/prior"] / metrics["sharpness/prior"]
    )
    # A bound from 5 importance samples is tighter than that from 1.
    assert metrics["nll/test"] < metrics["rate/test"] + metrics["distortion/test"]


def test_the_record_names_the_features_and_the_number_of_images(vae: Path) -> None:
    resolved = the_record(vae)["config"]["resolved"]
    facts = {
        "features": {"classifier": "classifier_digits", "random": "random_0"},
        "images_per_set": 360,
        "test_images": 360,
    }
    assert resolved | facts == resolved


def test_every_metric_of_the_record_has_units_and_a_direction(vae: Path) -> None:
    record = the_record(vae)
    meaning = record["config"]["resolved"]["metrics"]
    for key in record["metrics"]:
        assert set(meaning[key.split("/")[0]]) == {"units", "higher_is_better"}


@pytest.mark.parametrize(
    ("chosen", "how"),
    [("vae", "closed form"), ("laplace_vae", "closed form"), ("mixture_vae", "Monte Carlo")],
)
def test_the_record_says_how_the_kl_divergence_was_computed(chosen: str, how: str, tmp_path: Path) -> None:
    latentbench(*SMALL, f"method={chosen}", "metric=[rate]", "sampler=[prior]")
    assert the_record(tmp_path / "outputs")["config"]["resolved"]["kl"] == how


def test_the_record_says_what_the_run_was_made_with(vae: Path) -> None:
    record = the_record(vae)
    made_with = record["environment"]
    assert made_with["packages"]["torch"] == torch.__version__
    assert {"latentbench", "pytorch-lightning", "numpy", "scikit-learn", "hydra-core"} <= set(made_with["packages"])
    assert made_with["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 100 < made_with["peak_memory_mb"] < 100_000
    assert made_with["cpu_threads"] == 1
    assert made_with["processor"] == record["evaluations"][0]["processor"] != ""
    assert made_with["matrix_library"].endswith(torch.backends.cpu.get_cpu_capability())
    assert not made_with["matrix_library"].startswith("unknown")
    assert set(record["seconds"]) == {"setup", "fit", "evaluate"}
    assert all(0 <= seconds < 60 for seconds in record["seconds"].values())


def test_the_record_names_the_commit_of_the_code(vae: Path) -> None:
    git = ["git", "-C", str(Path(run.__file__).parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = None
    recorded = the_record(vae)["environment"]["git_commit"]
    assert recorded in {commit, f"{commit}-dirty"}


def test_the_resolved_config_runs_again_as_the_same_run(vae: Path) -> None:
    record = the_record(vae)
    config = OmegaConf.create({key: value for key, value in record["config"].items() if key != "resolved"})
    assert run_id(config, record["choices"]) == record["run_id"]
    assert record["config"]["trainer"]["max_epochs"] == 1


def test_the_record_says_what_ran_and_whether_the_training_had_converged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [3.0, 2.0, 2.5, 2.5, 1.0]
    end = GenerativeModel._end_epoch
    monkeypatch.setattr(GenerativeModel, "_end_epoch", lambda self, _: end(self, losses[self.current_epoch]))
    command = (*QUICK, "trainer.max_epochs=5", "trainer.patience=2", "trainer.keep=best", "trainer.ema=0.9")
    assert latentbench(*command).code == 0
    record = the_record(tmp_path / "outputs")
    facts = record["config"]["resolved"]
    assert facts["ran"] == {"epochs": 4, "precision": "32-true", "devices": 1}
    assert facts["convergence"] == {"validation_loss": 2.5, "falling": None, "fallen": 1.0, "converged": None}
    folder = folder_of(record, tmp_path / "outputs")
    measured, last = (load_file(folder / f"{name}.safetensors") for name in ("model", "last"))
    assert measured.keys() == last.keys()
    assert not any(torch.equal(measured[name], last[name]) for name in measured)


def test_the_images_lie_beside_the_record(vae: Path) -> None:
    folder = folder_of(the_record(vae), vae)
    with np.load(folder / "images.npz") as archive:
        pictures = dict(archive)
    latents = {key: pictures.pop(key) for key in ("codes", "labels", "shares", "coordinates")}
    assert {key: of.shape for key, of in latents.items()} == {
        "codes": (360, 2), "labels": (360,), "shares": (2,), "coordinates": (8,),
    }  # fmt: skip
    assert set(pictures) == {*SAMPLERS, "real", "reconstruction", "interpolation", "original", "traversal"}
    for images in pictures.values():
        assert (images.dtype, images.shape) == (np.uint8, (64, 1, 8, 8))
    digits = Digits(binarize="none", flip=False, batch_size=1, seed=0).splits.images["validation"][:64]
    np.testing.assert_array_equal(pictures["original"], digits.numpy())
    assert (pictures["prior"] != pictures["gmm"]).any()


def test_the_weights_load_back_and_reconstruct_as_they_did(vae: Path) -> None:
    record = the_record(vae)
    config = OmegaConf.create(record["config"])
    data = build.build(config.data, seed=config.seed)
    model = build.build_model(config, data)
    weights = load_file(folder_of(record, vae) / "model.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) == record["n_parameters"]
    model.load_state_dict(weights, strict=True)
    model.eval()
    with torch.no_grad():
        squared = (model.reconstruct(data.images("test")) - data.images("test")).square().mean()
    assert squared.item() == pytest.approx(record["metrics"]["mse/test"], rel=1e-6)


def test_a_metric_does_not_depend_on_which_others_are_measured(vae: Path, tmp_path: Path) -> None:
    latentbench(*SMALL, "metric=[rate,fid]", "sampler=[gmm]")
    alone = the_record(tmp_path / "outputs")["metrics"]
    assert {"fid/gmm", "rate/test"} <= set(alone)
    together = the_record(vae)["metrics"]
    assert {key: together[key] for key in alone} == alone


def test_the_record_and_its_numbers_are_shown_on_standard_error(tmp_path: Path) -> None:
    finished = latentbench(*QUICK)
    record = the_record(tmp_path / "outputs")
    assert finished.out == ""
    assert f"outputs/adhoc/{record['run_id']}/record.json" in finished.err
    assert re.search(
        rf"mse +test {record['metrics']['mse/test']:.4g} ± {record['standard_errors']['mse/test']:.2g}\n", finished.err
    )


# A GAN is compared with methods that have parts it lacks


def test_a_gan_has_no_likelihood_posterior_and_regularizer(tmp_path: Path) -> None:
    assert latentbench(*EVERY_METRIC, "method=gan").code == 0
    record = the_record(tmp_path / "outputs")
    absent = ("likelihood", "posterior", "regularizer", "objective", "annealing")
    assert all(record["choices"][part] is None for part in absent)
    assert not set(absent) & set(record["config"])
    for key in ("nll/test", "rate/test", "fid/gmm", "fid/reconstruction", "mse/test"):
        assert key not in record["metrics"]
        assert "GAN" in record["skipped"][key]
    assert {"fid/prior", "sharpness/prior", "parzen/prior"} <= set(record["metrics"])


# Which runs are the same run


@pytest.mark.parametrize(
    "override",
    [
        "beta=0.5", "seed=1", "latent_size=9", "trainer.max_epochs=51", "data.binarize=dynamic", "data.batch_size=64",
        "model.learning_rate=1e-4", "backbone.hidden=[400]", "backbone=linear", "prior=laplace", "posterior=dirac",
        "regularizer=mmd", "likelihood=bernoulli", "likelihood=gaussian", "trainer.precision=64-true", "data=mnist",
        "method=gan", "optimizer=sgd", "optimizer.weight_decay=0.1", "schedule=step", "trainer.gradient_clip=1",
        "trainer.accumulate=2", "trainer.ema=0.9", "trainer.patience=3", "trainer.keep=best", "data.flip=true",
    ],
)  # fmt: skip
def test_what_can_change_the_model_makes_another_run(override: str) -> None:
    assert name_of(override) != name_of()


@pytest.mark.parametrize(
    "override",
    [
        "output_dir=elsewhere", "logger=none", "logger.project=mine", "study=mine", "force=true", "question=why",
        "table.rows=[beta]", "beta=1", "beta=1.0", "beta=1e0", "method=vae", "prior=normal", "seed=0",
        "sampler=[prior]", "metric=[fid]", "metric.nll.samples=10", "features.classifier.weights=mnist",
        "measure_against=validation", "optimizer=adam", "optimizer.eps=1e-8", "schedule=constant",
        "trainer.gradient_clip=null", "trainer.accumulate=1", "trainer.keep=last", "data.flip=false",
    ],
)  # fmt: skip
def test_what_cannot_change_the_model_makes_the_same_run(override: str) -> None:
    assert name_of(override) == name_of()


def test_ids_stay_when_settings_are_added() -> None:
    """As in records from before there were optimizers and schedules to choose."""
    assert name_of() == "vae-digits-d8-b1-s0-9004eb12"
    assert name_of("method=gan") == "gan-digits-d8-s0-4879deb1"
    assert name_of("method=aae", "data=mnist", "seed=3", "model.beta1=null") == "aae-mnist-d8-b2-s3-1497c89d"


@pytest.mark.parametrize("override", ["data.root=/elsewhere", "data.mirrors=[http://127.0.0.1:9/]"])
def test_where_the_data_lies_makes_the_same_run(override: str) -> None:
    assert name_of("data=mnist", override) == name_of("data=mnist")


def test_what_a_gan_does_not_have_makes_the_same_run() -> None:
    assert name_of("method=gan", "beta=3") == name_of("method=gan")
    *_, gan = compose_jobs(["-m", "method=vae,gan", "likelihood=bernoulli"])
    assert job.resolve(gan).folder.name == name_of("method=gan")


def test_a_part_that_the_model_does_not_use_is_refused_but_in_a_sweep_over_methods(tmp_path: Path) -> None:
    given = ("method=gan", "regularizer=mmd", "posterior=laplace", *QUICK)
    told = the_one_line(latentbench(*given, f"output_dir={tmp_path / 'one'}"))
    assert told == (
        "refused: model=gan has no use for posterior=laplace, regularizer=mmd: leave them out, or take "
        "model=autoencoder"
    )
    varied = ("-m", "method=vae,gan", "likelihood=bernoulli,gaussian")  # the GAN is one run beside two VAEs
    runs = [job.resolve(each) for each in compose_jobs(varied)]
    assert [run.refusal for run in runs] == [None] * 4
    assert len({run.folder for run in runs}) == 3
    assert latentbench("-m", "regularizer=mmd,kl", "method=gan", *QUICK, f"output_dir={tmp_path / 'several'}").code == 0
    assert {record["status"] for record in records(tmp_path / "several")} == {"refused"}


def test_a_name_tells_the_main_choices() -> None:
    assert name_of("method=wae_mmd", "data=mnist", "latent_size=3", "seed=7").startswith("wae_mmd-mnist-d3-b200-s7-")
    assert name_of("method=swae").startswith("swae-digits-d8-s0-"), "a formula is no part of a name"


def test_a_run_without_a_method_is_named_by_its_parts() -> None:
    assert name_of("method=null").startswith("kl-normal-gaussian-digits-d8-b1-s0-")
    assert name_of("method=null", "regularizer=mmd", "annealing=warmup").startswith("mmd-normal-gaussian-warmup-")
    assert name_of("method=null", "model=gan", "prior=laplace").startswith("gan-laplace-digits-d8-s0-")


# Runs that exist already


def test_a_finished_run_is_not_run_again(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(quick)
    monkeypatch.setattr(run, "fit", lambda *_: pytest.fail("it was run again"))
    again = latentbench(*QUICK)
    assert again.code == 0
    assert "is finished already" in again.err
    assert "force=true" in again.err
    assert files(quick) == before


def test_force_runs_a_finished_run_again_and_keeps_its_name(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = the_record(quick)
    fits = []
    fit = run.fit
    monkeypatch.setattr(run, "fit", lambda *parts, **how: fits.append(1) or fit(*parts, **how))
    assert latentbench(*QUICK, "force=true").code == 0
    after = the_record(quick)
    assert fits == [1]
    assert after["choices"]["force"] is True
    assert (after["run_id"], after["metrics"]) == (before["run_id"], before["metrics"])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2}', "nonsense"])
def test_an_invalid_record_is_replaced_and_kept_under_another_name(content: str, quick: Path) -> None:
    path = folder_of(the_record(quick), quick) / "record.json"
    before = json.loads(path.read_text())
    path.write_text(content)
    finished = latentbench(*QUICK)
    assert finished.code == 0
    assert "the run goes on from its checkpoint, if it has one; the file is kept as record.old.json" in finished.err
    after = json.loads(path.read_text())
    assert after["metrics"] == before["metrics"]
    assert after["config"]["resolved"] == before["config"]["resolved"], "what was told of its steps among them"
    assert path.with_name("record.old.json").read_text() == content


def test_a_record_that_cannot_be_opened_ends_the_run(quick: Path) -> None:
    path = folder_of(the_record(quick), quick) / "record.json"
    path.unlink()
    path.mkdir()  # as good as an error of the disk
    finished = latentbench(*QUICK)
    assert "record.json cannot be read (Is a directory)" in the_one_line(finished)
    assert finished.code == 2
    assert path.is_dir()


def test_a_sampler_that_has_no_images_any_more_keeps_none(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert latentbench(*QUICK, "metric=[sharpness]", "sampler=[prior,gmm]").code == 0
    folder = folder_of(the_record(quick), quick)
    assert "gmm" in load_images(folder / "images.npz")
    monkeypatch.setattr(GaussianMixtureSampler, "refuses", lambda *_: "no mixture today")
    assert latentbench(*QUICK, "metric=[sharpness]", "sampler=[prior,gmm]", "sampler.gmm.components=2").code == 0
    assert {"prior", "gmm", "real"} & load_images(folder / "images.npz").keys() == {"prior", "real"}


def test_a_process_keeps_the_commit_and_the_digest_of_the_code_that_it_started_with() -> None:
    # Even where the code changes before its first run ends: both are read when the module is imported.
    command = "import latentbench.running.run, latentbench.records.provenance as p; "
    command += "print(p.git_commit.cache_info().currsize, p.code_digest.cache_info().currsize)"
    shown = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert shown == "1 1\n"


def test_a_failed_run_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", broken)
        assert latentbench(*QUICK).code == 1
    failed = the_record(tmp_path / "outputs")
    assert (failed["status"], failed["reason"]) == ("failed", "RuntimeError: out of luck")
    assert (set(failed), failed["metrics"]) == (KEYS, {})
    assert latentbench(*QUICK).code == 0
    finished = the_record(tmp_path / "outputs")
    assert (finished["status"], finished["reason"], finished["run_id"]) == ("finished", None, failed["run_id"])


@pytest.mark.parametrize("phase", ["build_seeded_model", "fit"])
def test_a_failed_training_never_replaces_a_finished_run(
    phase: str, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    def but_the_state_of_training() -> dict[str, bytes]:
        return {path: content for path, content in files(quick).items() if not path.endswith("last.ckpt")}

    before = but_the_state_of_training()
    monkeypatch.setattr(run, phase, broken)
    assert latentbench(*QUICK, "force=true").code == 1
    assert but_the_state_of_training() == before


def test_broken_data_leaves_a_finished_record_as_it_was(tmp_path: Path) -> None:
    command = (*QUICK, "data=mnist", f"data.root={tmp_path}", "data.mirrors=[http://127.0.0.1:9/]")
    path = tmp_path / "outputs" / "adhoc" / name_of(*command) / "record.json"
    path.parent.mkdir(parents=True)
    finished = {key: {} for key in KEYS} | {"schema": 4, "status": "finished", "run_id": path.parent.name}
    path.write_text(json.dumps(finished))
    forced = latentbench(*command, "force=true")
    assert "no train-images-idx3-ubyte.gz" in the_one_line(forced)
    assert forced.code == 2
    assert json.loads(path.read_text()) == finished
    assert {file.name for file in path.parent.iterdir()} == {"record.json", "lock"}


@pytest.mark.parametrize("phase", [(Batches, "__iter__"), (run, "measure")], ids=["training", "measuring"])
def test_an_interrupted_sweep_leaves_no_numbers_and_runs_the_next_time(
    phase: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(*phase, interrupted)
        assert latentbench("-m", "seed=0,1", *QUICK).code != 0
    assert not any(record["metrics"] for record in records(tmp_path / "outputs"))
    assert latentbench("-m", "seed=0,1", *QUICK).code == 0
    assert [record["status"] for record in records(tmp_path / "outputs")] == ["finished", "finished"]


# Runs that fail or are refused


def test_a_loss_that_is_not_a_number_is_a_failure_with_epoch_and_term(tmp_path: Path) -> None:
    finished = latentbench(*QUICK, "model.learning_rate=1e30")
    assert finished.code == 1
    record = the_record(tmp_path / "outputs")
    assert record["status"] == "failed"
    assert "loss" in record["reason"]
    assert "epoch" in record["reason"]
    assert "nan" in record["reason"]
    assert record["metrics"] == {}
    assert "epoch" in finished.err


def test_a_sweep_goes_on_after_a_failure_and_its_exit_code_tells(tmp_path: Path) -> None:
    finished = latentbench("-m", "model.learning_rate=1e30,1e-3", *QUICK)
    assert finished.code == 1
    assert "1 failed, 1 finished" in finished.err
    by_rate = {r["config"]["model"]["learning_rate"]: r["status"] for r in records(tmp_path / "outputs")}
    assert by_rate == {1e30: "failed", 1e-3: "finished"}


def test_a_refused_pair_in_a_sweep_is_a_result_and_no_failure(tmp_path: Path) -> None:
    finished = latentbench("-m", "posterior=dirac,gaussian", *QUICK)
    assert finished.code == 0, finished.err
    refused, done = sorted(records(tmp_path / "outputs"), key=lambda record: record["choices"]["posterior"])
    assert (refused["status"], refused["choices"]["posterior"], refused["metrics"]) == ("refused", "dirac", {})
    assert "take posterior=gaussian" in refused["reason"]
    assert refused["reason"] in finished.err
    assert (done["status"], done["choices"]["posterior"]) == ("finished", "gaussian")


def test_a_refused_pair_is_recorded_with_its_reason(tmp_path: Path) -> None:
    finished = latentbench("method=vae", "posterior=dirac", *QUICK)
    record = the_record(tmp_path / "outputs")
    assert finished.code == 2
    assert (record["status"], set(record)) == ("refused", KEYS)
    assert the_one_line(finished) == f"refused: {record['reason']}"


@pytest.mark.parametrize("method", ["vae", "gan", "svae"])
def test_models_in_double_precision_are_evaluated_like_all_others(method: str, tmp_path: Path) -> None:
    finished = latentbench(f"method={method}", *EVERY_METRIC, "metric=[fid,nll]", "trainer.precision=64-true")
    assert finished.code == 0, finished.err
    assert math.isfinite(the_record(tmp_path / "outputs")["metrics"]["fid/prior"])


# The same seed gives the same numbers


METHODS = ("gan", "aae", "vampprior_vae", "vae")
SEEDED = (
    *EVERY_METRIC, "trainer.max_epochs=2", "data.batch_size=128", "data.binarize=dynamic", "likelihood=bernoulli",
)  # fmt: skip


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Output folders of one command in two fresh processes, which hash strings differently."""
    first, second = (tmp_path_factory.mktemp("fresh") for _ in range(2))
    command = [sys.executable, "-m", "latentbench", *SEEDED, f"output_dir={first}"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with Started(*SEEDED, f"output_dir={second}") as started:
        assert started.wait() == 0, started.err
    return [first, second]


def test_two_processes_give_the_same_numbers_to_the_last_bit(fresh: list[Path]) -> None:
    first, second = map(the_record, fresh)
    assert len(first["metrics"]) > 20
    assert first["metrics"] == second["metrics"]
    for name in ("model.safetensors", "images.npz"):
        assert (folder_of(first, fresh[0]) / name).read_bytes() == (folder_of(second, fresh[1]) / name).read_bytes()


def test_a_run_of_a_sweep_gives_the_numbers_it_gives_alone(fresh: list[Path], tmp_path: Path) -> None:
    """The runs before it in its process do not influence it."""
    assert latentbench("-m", f"method={','.join(METHODS)}", *SEEDED, "output_dir=forth").code == 0
    assert latentbench("-m", f"method={','.join(reversed(METHODS))}", *SEEDED, "output_dir=back").code == 0
    forth = {record["choices"]["method"]: record["metrics"] for record in records(tmp_path / "forth")}
    back = {record["choices"]["method"]: record["metrics"] for record in records(tmp_path / "back")}
    assert set(forth) == set(METHODS)
    assert forth == back
    assert forth["vae"] == the_record(fresh[0])["metrics"]


def test_another_seed_gives_other_numbers_but_the_same_real_images(vae: Path, tmp_path: Path) -> None:
    latentbench(*EVERY_METRIC, "seed=1")
    first, second = the_record(vae)["metrics"], the_record(tmp_path / "outputs")["metrics"]
    same = {key for key, value in first.items() if second[key] == value and "bandwidth" not in key}
    real = {key for key in first if is_floor(key)}
    assert {"fid/real", "fid/real@random"} <= real <= same
    # Of counts of images or of coordinates, which may be equal by chance.
    shares = ("precision", "recall", "density", "coverage", "active_units")
    assert not {key for key in same - real if key.split("/")[0] not in shares}


# Weights & Biases, from the command line


@pytest.mark.usefixtures("no_wandb_account")
def test_an_offline_run_of_the_command_line_says_what_the_record_says(tmp_path: Path) -> None:
    assert latentbench(*SMALL, "metric=[reconstruction,rate]", "sampler=[prior]", "logger=wandb").code == 0
    record = the_record(tmp_path / "outputs")
    read = summary(the_folder(folder_of(record, tmp_path / "outputs")))
    assert set(record["metrics"]) == {"mse/test", "psnr/test", "ssim/test", "rate/test"}
    assert {key: read["summary"][key] for key in record["metrics"]} == record["metrics"]
    assert (read["summary"]["status"], read["state"]) == ("finished", "finished")
    assert read["config"]["run_id"] == record["run_id"]
    assert read["config"]["choices"] == record["choices"]
    assert read["config"]["trainer"]["max_epochs"] == 1
    for term in ("loss", "distortion", "regularizer"):
        assert math.isfinite(read["summary"][f"train/{term}"])


@pytest.mark.usefixtures("no_wandb_account")
def test_a_run_that_was_not_logged_can_be_logged_later(quick: Path) -> None:
    record = the_record(quick)
    finished = latentbench("study=adhoc", program=log_command.main)
    assert finished.code == 0, finished.err
    read = summary(the_folder(folder_of(record, quick)))
    assert {key: read["summary"][key] for key in record["metrics"]} == record["metrics"]
    assert (read["summary"]["status"], read["state"]) == ("finished", "finished")
    assert read["config"]["choices"] == record["choices"]
    assert "outputs/nothing has no runs" in the_one_line(latentbench("study=nothing", program=log_command.main))
    assert "record.json cannot be read" in the_one_line(latentbench("nowhere", program=log_command.main))


@pytest.mark.usefixtures("no_wandb_account")
def test_a_run_with_a_key_but_no_network_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    finished = latentbench(*QUICK, "logger=wandb")
    assert finished.code == 0
    record = the_record(tmp_path / "outputs")
    assert record["status"] == "finished"
    assert "offline" in finished.err
    assert "Traceback" not in finished.err
    assert the_folder(folder_of(record, tmp_path / "outputs")).is_dir()


@pytest.mark.usefixtures("no_wandb_account")
@pytest.mark.parametrize("how", ["logger=none", "WANDB_MODE=disabled"])
def test_no_logger_and_a_disabled_one_leave_no_folder_of_it(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, value = how.split("=")
    override = how if key == "logger" else "logger=wandb"
    if key != "logger":
        monkeypatch.setenv(key, value)
    assert latentbench(*QUICK, override).code == 0
    run_dir = folder_of(the_record(tmp_path / "outputs"), tmp_path / "outputs")
    assert {path.name for path in run_dir.iterdir()} == {
        "config.yaml", "record.json", "model.safetensors", "last.ckpt", "images.npz", "lock",
    }  # fmt: skip
    assert not (tmp_path / "wandb").exists()


@pytest.mark.usefixtures("no_wandb_account")
def test_a_failed_run_is_failed_in_wandb_too(tmp_path: Path) -> None:
    assert latentbench(*QUICK, "logger=wandb", "model.learning_rate=1e30").code == 1
    record = the_record(tmp_path / "outputs")
    read = summary(the_folder(folder_of(record, tmp_path / "outputs")))
    assert (read["exit_code"], read["summary"]["status"]) == (1, "failed")
    assert read["summary"]["reason"] == record["reason"]
    assert wandb.run is None


def test_a_copied_run_is_still_that_run(vae: Path, tmp_path: Path) -> None:
    """Outputs may be moved: nothing in a run's name depends on where it is."""
    shutil.copytree(vae, tmp_path / "outputs")
    finished = latentbench(*EVERY_METRIC)
    assert "is finished already" in finished.err


def test_the_choice_of_metrics_does_not_change_the_trained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_measuring_parts = run.build_measuring_parts

    def drawing(*arguments: Any) -> dict[str, Any]:
        torch.rand(7)
        return build_measuring_parts(*arguments)

    assert latentbench(*QUICK, f"output_dir={tmp_path / 'one'}").code == 0
    monkeypatch.setattr(run, "build_measuring_parts", drawing)
    assert latentbench(*QUICK, f"output_dir={tmp_path / 'two'}").code == 0
    one, two = (next((tmp_path / out).glob("*/*/model.safetensors")).read_bytes() for out in ("one", "two"))
    assert one == two


def test_skipped_metrics_are_shown_with_their_reason(tmp_path: Path) -> None:
    made = latentbench(*SMALL, "metric=[rate,nll,fid]", "sampler=[prior]", "method=gan")
    assert made.code == 0
    (line,) = [line for line in (made.out + made.err).splitlines() if line.strip().startswith("skipped")]
    assert line.strip() == "skipped bits_per_dim, nll, nll_ess, rate: a GAN defines no density of images"
