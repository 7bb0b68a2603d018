"""A run on several devices gives the numbers of one device up to rounding, and fails or resumes like any other."""

import copy
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.multiprocessing
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from commands import forking, holder, latentbench, meanwhile
from forked_python import forked_python
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed, options, untrained
from latentbench.errors import Refused
from latentbench.evaluation.build import build_seeded_model
from latentbench.launchers.local import usable_gpus
from latentbench.records.record import load
from latentbench.running import data_parallel
from latentbench.running.checkpoints import PeriodicCheckpoint
from latentbench.running.job import CHECKPOINT, LOCK, Job
from latentbench.running.subprocess_run import load_job, save_job
from latentbench.running.train import fit

pytestmark = pytest.mark.usefixtures("quick_composition")

IMAGES, EPOCHS, PROCESSES = 41, 2, 2  # of batches of 16 the last has 9 images
DOUBLE = "trainer.precision=64-true"  # so that rounding hides no error
DDP = ("trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={PROCESSES}")
CUT_OFF = ("vae", "svae", "wgan_gp")
RECIPE = ("trainer.gradient_clip=0.5", "trainer.accumulate=2", "trainer.ema=0.9")
WITH_RECIPE = ("aae", "wgan_gp")
NORMALIZED = ("vae", "rae_gp", "gan")  # also trained with batch normalization; rae_gp takes gradients of gradients


def trained(
    method: str, folder: Path, *how: str, checkpoint: Path | None = None, normalized: bool = False
) -> dict[str, Any]:
    """Train; returns weights, their last gradients, losses, and the number of images that the encoder processed.

    normalized: with batch normalization in the encoder and in the decoder
    """
    config = copy.deepcopy(composed(f"method={method}", "backbone=mlp", "backbone.hidden=[16]", "checkpoint_seconds=0"))
    config.trainer = composed(f"trainer.max_epochs={EPOCHS}", *how).trainer  # Hydra composes trainer=ddp, once for all
    folder.mkdir(parents=True, exist_ok=True)
    data = few_digits(IMAGES)
    model: Any = build_seeded_model(config, data)
    if normalized:
        model.backbone.encoder.append(nn.BatchNorm1d(16))
        model.backbone.decoder.insert(2, nn.BatchNorm1d(16))
    shown: list[int] = []
    model.backbone.encoder[1].register_forward_hook(lambda layer, given, made: shown.append(len(made)))
    gradients: dict[int, Tensor] = {}

    def remember(optimizer: torch.optim.Optimizer, *how: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
        gradients.update({id(weight): weight.grad.detach().clone() for weight in weights})

    watch = register_optimizer_step_pre_hook(remember)
    fit(config, model, data, folder, checkpoint=checkpoint)
    watch.remove()
    of_weights = {name: gradients[id(weight)] for name, weight in model.named_parameters() if id(weight) in gradients}
    losses = {name: torch.tensor(loss, dtype=torch.float64) for name, loss in model.done.losses.items()}
    return {"weights": model.state_dict(), "gradients": of_weights, "losses": losses, "shown": sum(shown)}


def cut_off(method: str, folder: Path) -> None:
    """Train and interrupt it after the first epoch."""
    save = PeriodicCheckpoint.on_train_epoch_end

    def cut(self: PeriodicCheckpoint, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        save(self, trainer, model)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PeriodicCheckpoint, "on_train_epoch_end", cut)
        with pytest.raises(KeyboardInterrupt):
            trained(method, folder, *DDP)


def in_a_process(rank: int, folder: Path, port: int) -> None:
    """As one of the processes: train every method, then a few again with an interruption."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for method in options("method"):
        torch.save(trained(method, folder / method, *DDP, DOUBLE), folder / f"{method}.{rank}")
    for method in NORMALIZED:
        normalized = trained(method, folder / f"{method} normalized", *DDP, DOUBLE, normalized=True)
        torch.save(normalized, folder / f"{method} normalized.{rank}")
    for method in WITH_RECIPE:
        torch.save(
            trained(method, folder / f"{method} recipe", *DDP, DOUBLE, *RECIPE), folder / f"{method} recipe.{rank}"
        )
    for method in CUT_OFF:
        torch.save(trained(method, folder / f"{method} whole", *DDP), folder / f"{method} whole.{rank}")
        cut_off(method, folder / f"{method} cut off")
        torch.manual_seed(rank)
        checkpoint = folder / f"{method} cut off" / CHECKPOINT
        resumed = trained(method, checkpoint.parent, *DDP, checkpoint=checkpoint)
        torch.save(resumed, folder / f"{method} cut off.{rank}")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of every method in every process."""
    folder = tmp_path_factory.mktemp("several")
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    method = forking().get_start_method()  # sets what the processes need not import again
    torch.multiprocessing.start_processes(in_a_process, (folder, port), nprocs=PROCESSES, start_method=method)
    return folder


def same(found: Mapping[str, Tensor], known: Mapping[str, Tensor], *, within: float) -> None:
    """Equal up to `within`, in units of the largest number of each tensor."""
    assert set(found) == set(known)
    for name, value in known.items():
        scale = value.abs().max().item() if value.numel() else 0.0
        torch.testing.assert_close(found[name], value, rtol=0, atol=within * scale, msg=name)


@pytest.mark.parametrize(
    ("method", "how"), [*((method, "") for method in options("method")), *((m, " normalized") for m in NORMALIZED)]
)
def test_every_method_trains_as_in_one_process(method: str, how: str, several: Path, tmp_path: Path) -> None:
    first, other = (torch.load(several / f"{method}{how}.{rank}") for rank in range(PROCESSES))
    one = trained(method, tmp_path, DOUBLE, normalized=bool(how))
    # Of a unit that is active for all images batch normalization takes away the bias, whose gradient is rounding alone:
    # Adam makes steps of it, which differ from machine to machine.
    within = {"weights": 1e-6 if how else 1e-8, "gradients": 1e-8}
    for part in ("weights", "gradients"):  # both, since Adam ignores a factor in the gradient
        same(first[part], one[part], within=within[part])
        same(other[part], first[part], within=0)
    same(first["losses"], one["losses"], within=1e-8)
    assert first["shown"] + other["shown"] == one["shown"], "no image is processed twice"
    assert abs(first["shown"] - other["shown"]) < 0.1 * one["shown"]


@pytest.mark.parametrize("method", WITH_RECIPE)
def test_clipped_gathered_and_averaged_it_trains_as_in_one_process(method: str, several: Path, tmp_path: Path) -> None:
    first, other = (torch.load(several / f"{method} recipe.{rank}") for rank in range(PROCESSES))
    one = trained(method, tmp_path, DOUBLE, *RECIPE)
    same(first["weights"], one["weights"], within=1e-6)  # the share of a step in an average is in single precision
    same(other["weights"], first["weights"], within=0)


@pytest.mark.parametrize("method", CUT_OFF)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(method: str, several: Path) -> None:
    whole, cut = (torch.load(several / f"{method}{how}.0") for how in (" whole", " cut off"))
    same(cut["weights"], whole["weights"], within=0)
    assert cut["shown"] < whole["shown"], "it did not start from the beginning"


SMALL = (
    "backbone.hidden=[16]", "data.batch_size=128", "logger=none", "metric=[fid,rate]", "sampler=[prior]",
    "checkpoint_seconds=0",
)  # fmt: skip


ADVICE = "find_unused_parameters=True was specified"


def run_folder(root: Path) -> Path:
    """The folder of the only run."""
    (folder,) = root.glob("adhoc/*")
    return folder


@pytest.fixture
def forked_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The processes of a run on several devices are forked, except those that launcher=local starts."""
    with forked_python(tmp_path / "forked", "latentbench.running.subprocess_main") as python:
        monkeypatch.setattr(sys, "executable", str(python))
        yield


@pytest.mark.usefixtures("forked_processes")
def test_a_killed_run_is_reported_and_resumes_with_the_numbers_of_one_device(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    long = (*SMALL, "trainer.max_epochs=12")
    assert latentbench(*long, f"output_dir={one}").code == 0
    command = (*long, *DDP, f"output_dir={two}")
    meanwhile(
        lambda: list(two.glob(f"adhoc/*/{CHECKPOINT}")),
        lambda found: os.kill(holder(found[0].with_name(LOCK)), signal.SIGKILL),
    )
    killed = latentbench(*command)
    assert (killed.code, "killed (exit code -9): " in killed.err) == (1, True), killed.err
    capfd.readouterr()
    again = latentbench("-m", *command, "launcher=local")
    assert again.code == 0, again.err
    assert ADVICE not in capfd.readouterr().err
    found, known = run_folder(two), run_folder(one)
    # Up to rounding, of single precision here.
    metrics = load(known / "record.json").metrics
    assert load(found / "record.json").metrics == pytest.approx(metrics, rel=1e-3)
    same(load_file(found / "model.safetensors"), load_file(known / "model.safetensors"), within=1e-4)
    assert "finished already" in latentbench(*command).err, "found out without a subprocess"


@pytest.mark.usefixtures("forked_processes")
def test_in_a_sweep_a_failing_and_a_refused_run_are_reported_in_a_line_each(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = ("model.learning_rate=1e30", "posterior=gaussian,dirac", "trainer.max_epochs=2")
    ended = latentbench("-m", *SMALL, *DDP, *wrong, f"output_dir={tmp_path}")
    assert ended.code == 1
    assert "runs: 1 failed, 1 refused" in ended.err
    # A torch that is loaded already prints its advice on unused parameters, whatever the process is told.
    failed, refused = [line for line in capfd.readouterr().err.splitlines() if ADVICE not in line]
    assert failed.startswith("failed: train/")
    assert refused.startswith("refused: ")
    reasons = [load(path).reason or "" for path in tmp_path.glob("adhoc/*/record.json")]
    assert len(reasons) == 2
    assert any("became nan" in reason for reason in reasons)


def test_invalid_settings_are_reported_in_one_line(tmp_path: Path) -> None:
    several = latentbench(*SMALL, "trainer.accelerator=cpu", "trainer.devices=2", f"output_dir={tmp_path}")
    assert (several.code, "take trainer=ddp for" in several.err) == (2, True)
    machines = latentbench(*SMALL, "trainer.accelerator=cpu", "+trainer.num_nodes=2", f"output_dir={tmp_path}")
    assert (machines.code, "devices of one machine" in machines.err) == (2, True)
    clipped = latentbench(*SMALL, "+trainer.gradient_clip_val=1", f"output_dir={tmp_path}")
    assert (clipped.code, "did you mean trainer.gradient_clip?" in clipped.err, clipped.err.count("\n")) == (2, True, 1)
    halves = latentbench(*SMALL, "trainer.precision=bf16-true", f"output_dir={tmp_path}")
    assert (halves.code, "take bf16-mixed" in halves.err) == (2, True)
    no_folder = tmp_path / "none"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentbench.running.subprocess_run.tempfile.TemporaryDirectory", lambda **_: no_folder.open())
        failed = latentbench("-m", "seed=0,1", *SMALL, *DDP, f"output_dir={tmp_path}")
    assert (failed.code, failed.err.count("its process cannot be started"), "2 failed" in failed.err) == (1, 2, True)
    assert "seed must be" in latentbench(*SMALL, *DDP, "seed=-1").err


def test_a_job_comes_back_from_its_file(tmp_path: Path) -> None:
    words = ["study=a", "logger.project=${study}"]
    config = OmegaConf.create({"seed": 0, "study": "1e3", "small": 1e-7, "logger": {"project": "${study}"}, "a": [1]})
    job = Job(config, {"method": "vae", "metric": ["fid"], "sweep": None}, words, False)
    for devices in (None, [1, 0]):
        save_job(tmp_path / "job.yaml", job, devices=devices)
        again, its_devices = load_job(tmp_path / "job.yaml")
        assert (again, its_devices) == (job, devices)
    assert again.config.logger.project == "1e3"


def test_a_run_leases_as_many_devices_as_its_trainer_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"id-{number}"))
    taken = {"trainer=default": 1, "trainer.devices=3": 3, "trainer=ddp": 8, "trainer.devices=-1": 8}
    for override, n in taken.items():
        names, wanted = usable_gpus(Job(composed(override), {}, [], True))
        assert (names, wanted) == ({number: f"id-{number}" for number in range(8)}, n), override
    of_two = usable_gpus(Job(composed("trainer.devices=[2,5]"), {}, [], True))
    assert of_two == ({2: "id-2", 5: "id-5"}, 2), "these and no others"
    assert usable_gpus(Job(composed("trainer.accelerator=cpu"), {}, [], True)) == ({}, 0)


@pytest.mark.parametrize("layer", [nn.InstanceNorm1d(16), nn.Dropout()])
def test_a_network_that_mixes_images_or_draws_random_numbers_is_refused(layer: nn.Module) -> None:
    model: Any = untrained(few_digits())
    model.backbone.encoder.append(layer)
    with pytest.raises(Refused, match=f"{type(layer).__name__} gives other outputs on a part of a batch"):
        data_parallel.SplitBatch().setup(SimpleNamespace(world_size=2), model, "fit")  # type: ignore[arg-type]
