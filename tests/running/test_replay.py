"""Training steps that are recorded once and replayed, and what is said where they cannot be."""

import copy
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from latentbench.cli.help import help_text
from latentbench.configuration.catalogue import own_options
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed, options
from latentbench.errors import UserError
from latentbench.evaluation.build import build_model
from latentbench.models.base import GenerativeModel
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.running.checkpoints import find_checkpoint
from latentbench.running.cuda_graph import CudaGraph
from latentbench.running.eager_methods import STORED, eager_methods
from latentbench.running.train import fit
from tiny_runs import digits_are


def trained(
    method: str, folder: Path, *settings: str, regularizer: Regularizer | None = None, normalized: bool = False
) -> GenerativeModel:
    """After two epochs of seven batches of 16 images and one of 10.

    normalized: with batch normalization in the encoder and in the decoder
    """
    torch.manual_seed(0)
    config = composed(f"method={method}", "data.batch_size=16", "trainer.max_epochs=2", "logger=none", *settings)
    data = few_digits(122)
    model = build_model(config, data)
    if regularizer is not None:
        model.regularizer = regularizer
    if normalized:
        model.backbone.encoder.append(nn.BatchNorm1d(256))  # type: ignore[operator]
        model.backbone.decoder.insert(2, nn.BatchNorm1d(256))  # type: ignore[operator]
    torch.manual_seed(1)
    fit(config, model, data, folder)
    return model


ORDINARY = ["sinkhorn_ae", "svae"]  # methods whose steps are not replayed


def check_same(ordinary: GenerativeModel, replayed: GenerativeModel) -> None:
    for name, weight in ordinary.state_dict().items():
        assert torch.equal(weight, replayed.state_dict()[name]), name
    assert ordinary.budget()["steps"] == replayed.budget()["steps"]
    assert ordinary.done.losses == replayed.done.losses
    assert ordinary.done.validation_losses == replayed.done.validation_losses


@pytest.mark.parametrize("method", own_options("method"))
def test_replayed_steps_have_the_bits_of_ordinary_ones(method: str, tmp_path: Path) -> None:
    ordinary, replayed = (trained(method, tmp_path, f"replay={mode}") for mode in ("false", "true"))
    assert str(replayed.done.replay).startswith("no: " if method in ORDINARY else "yes")
    assert ordinary.done.replay is None
    assert "learn" not in vars(replayed)
    check_same(ordinary, replayed)


@pytest.mark.parametrize("method", ["vae", "gan"])
def test_batch_normalization_is_replayed(method: str, tmp_path: Path) -> None:
    ordinary, replayed = (trained(method, tmp_path, f"replay={mode}", normalized=True) for mode in ("false", "true"))
    assert replayed.done.replay == "yes"
    check_same(ordinary, replayed)


@pytest.mark.parametrize(
    "settings",
    [
        ("trainer.precision=bf16-mixed", "trainer.gradient_clip=1"),
        ("trainer.precision=64-true", "schedule=warmup_cosine"),
        ("optimizer=adamw", "schedule=warmup_cosine", "trainer.ema=0.9"),
        ("backbone=conv",),
        ("backbone=resnet", "trainer.precision=bf16-mixed"),
        ("annealing=cyclical", "trainer.precision=64-true"),
    ],
    ids=" ".join,
)
def test_settings_of_a_training_are_replayed(settings: tuple[str, ...], tmp_path: Path) -> None:
    ordinary, replayed = (trained("vae", tmp_path, f"replay={mode}", *settings) for mode in ("false", "true"))
    assert replayed.done.replay == "yes"
    check_same(ordinary, replayed)


@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_every_likelihood_is_replayed(likelihood: str, tmp_path: Path) -> None:
    # A penalty of the mean image.
    assert trained("rae_gp", tmp_path, f"likelihood={likelihood}").done.replay == "yes"


def test_the_help_says_which_methods_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line.split()[0] for line in STORED.read_text(encoding="utf-8").splitlines()] == ORDINARY
    update = "run `python -m latentbench.running.eager_methods`"
    monkeypatch.setattr(f"{eager_methods.__module__}.compose_config", lambda words: copy.deepcopy(composed(*words)))
    with digits_are(few_digits(48)):
        assert STORED.read_text(encoding="utf-8") == eager_methods(), update
    assert STORED.read_text(encoding="utf-8").rstrip() in help_text()


class Counts(Regularizer):
    """A regularizer whose weight grows by a count of its own."""

    trains_prior = None
    steps = 0

    def forward(self, latents: Latents) -> Tensor:
        self.steps += 1
        return self.steps * latents.z.square().mean()


class Tosses(Regularizer):
    """A regularizer whose weight is Python's own random number."""

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        return random.random() * latents.z.square().mean()


class Begins(Regularizer):
    """A regularizer whose weight depends on a count that is hidden in an object."""

    trains_prior = None

    def __init__(self, *, latent_size: int) -> None:
        super().__init__(latent_size=latent_size)
        self.hidden = SimpleNamespace(calls=0)

    def forward(self, latents: Latents) -> Tensor:
        self.hidden.calls += 1
        return (2 if self.hidden.calls > 6 else 1) * latents.z.square().mean()


class Lists(Regularizer):
    """A regularizer with a count in a list."""

    trains_prior = None

    def __init__(self, *, latent_size: int) -> None:
        super().__init__(latent_size=latent_size)
        self.calls: list[int] = []

    def forward(self, latents: Latents) -> Tensor:
        self.calls.append(1)
        return len(self.calls) * latents.z.square().mean()


class Ends(Regularizer):
    """A regularizer that another object turns off."""

    trains_prior = None

    def __init__(self, *, latent_size: int) -> None:
        super().__init__(latent_size=latent_size)
        self.hidden = SimpleNamespace(weight=1)

    def forward(self, latents: Latents) -> Tensor:
        return self.hidden.weight * latents.z.square().mean()


class Picks(Regularizer):
    """A regularizer of the codes that are far out."""

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        return latents.z[latents.z > 1].sum()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Counts, "every step changes regularizer.steps on the processor"),
        (Lists, "every step changes regularizer.calls on the processor"),
        (Picks, "test_replay.py (forward) waits for values of the device"),
        (Tosses, "a replayed step differs from an ordinary one"),
    ],
)
def test_a_step_that_a_replay_would_not_repeat_stays_an_ordinary_one(
    part: type[Regularizer], reason: str, tmp_path: Path
) -> None:
    models = []
    for mode in ("false", "true"):
        random.seed(0)
        models.append(trained("vae", tmp_path, f"replay={mode}", regularizer=part(latent_size=8)))
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    assert reason in str(models[1].done.replay)


def test_a_step_that_changes_later_is_an_error_that_says_what_to_take(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"after 4 replayed steps a replayed step differs .*; take replay=false"):
        trained("vae", tmp_path, "trainer.max_epochs=4", regularizer=Begins(latent_size=8))


def test_no_checkpoint_has_steps_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Ends(latent_size=8)

    def turn_off(self: GenerativeModel) -> None:
        part.hidden.weight = 0 if self.current_epoch == 2 else 1

    monkeypatch.setattr(GenerativeModel, "on_train_epoch_start", turn_off)
    # The 16th replay is in the third epoch.
    with pytest.raises(UserError, match="after 16 replayed steps a replayed step differs"):
        trained("vae", tmp_path, "trainer.max_epochs=3", "checkpoint_seconds=0", regularizer=part)
    assert find_checkpoint(tmp_path) is not None
    monkeypatch.setattr("latentbench.running.tape.CHECKED", {1, 4})
    with pytest.raises(UserError, match="after 17 replayed steps a replayed step differs"):
        trained("vae", tmp_path / "last", "trainer.max_epochs=3", regularizer=part)
    assert find_checkpoint(tmp_path / "last") is None


@pytest.mark.parametrize(
    ("setting", "reason"), [("threads=2", "several threads"), ("trainer.detect_anomaly=true", "detect_anomaly")]
)
def test_some_trainings_have_ordinary_steps(setting: str, reason: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if setting == "threads=2" else 1)
        assert reason in str(trained("vae", tmp_path, setting).done.replay)
    finally:
        torch.set_num_threads(threads)


def test_what_cuda_cannot_record_is_an_error_that_says_what_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    for name in ("Stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, object)
    monkeypatch.setattr(torch.cuda, "graph", fails)
    with pytest.raises(UserError, match=r"\(operation not permitted when stream is capturing\): take replay=false"):
        CudaGraph().record(torch.exp, torch.ones(2))


def test_a_wrong_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="replay=maybe: give true or false"):
        trained("vae", tmp_path, "replay=maybe")


def test_a_resumed_training_tells_of_its_own_steps(tmp_path: Path) -> None:
    assert trained("vae", tmp_path, "replay=true").done.replay == "yes"
    config = composed("method=vae", "data.batch_size=16", "trainer.max_epochs=3", "logger=none", "replay=false")
    data = few_digits(122)
    model = build_model(config, data)
    fit(config, model, data, tmp_path, checkpoint=find_checkpoint(tmp_path))
    assert model.done.replay is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_a_graph_trains_like_ordinary_steps(tmp_path: Path) -> None:
    for method in options("method"):
        ordinary, replayed = (trained(method, tmp_path, f"replay={mode}") for mode in ("false", "true"))
        assert str(replayed.done.replay).startswith(("yes", "no: "))
        for name, weight in ordinary.state_dict().items():
            torch.testing.assert_close(
                weight, replayed.state_dict()[name], rtol=1e-4, atol=1e-5, msg=f"{method}: {name}"
            )
