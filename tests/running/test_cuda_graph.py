"""Training steps that are replayed from a CUDA graph, and what is said where they cannot be."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latentbench.cli.help import help_text
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed, options
from latentbench.errors import UserError
from latentbench.evaluation.build import build_model
from latentbench.models.base import GenerativeModel
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.running.cuda_graph import Rehearsal
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


METHODS = ["cyclical_vae", "capacity_vae", "aae", "wgan_gp", "vq_vae"]


@pytest.mark.parametrize(
    ("method", "normalized"), [*((method, False) for method in METHODS), ("vae", True), ("gan", True)]
)
def test_replayed_steps_are_the_ordinary_ones(method: str, normalized: bool, tmp_path: Path) -> None:
    ordinary = trained(method, tmp_path, "cuda_graph=false", normalized=normalized)
    replayed = trained(method, tmp_path, "cuda_graph=rehearse", normalized=normalized)
    assert replayed.done.cuda_graph == "yes"
    assert ordinary.done.cuda_graph is None
    for name, weight in ordinary.state_dict().items():
        assert torch.equal(weight, replayed.state_dict()[name]), name
    assert ordinary.budget()["steps"] == replayed.budget()["steps"]
    assert "learn" not in vars(replayed)


@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_the_likelihood_is_part_of_the_graph(likelihood: str, tmp_path: Path) -> None:
    settings = ("cuda_graph=rehearse", f"likelihood={likelihood}")
    assert trained("rae_gp", tmp_path, *settings).done.cuda_graph == "yes"  # whose penalty is of the mean image


def test_a_part_that_waits_for_the_device_is_named_and_its_steps_stay_ordinary_ones(tmp_path: Path) -> None:
    model = trained("svae", tmp_path, "cuda_graph=rehearse")
    assert model.budget()["cuda_graph"].startswith("no: distributions/von_mises_fisher.py")
    assert torch.equal(model.head.weight, trained("svae", tmp_path, "cuda_graph=false").head.weight)


def test_the_help_says_which_methods_have_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
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


class Picks(Regularizer):
    """A regularizer of the codes that are far out."""

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        return latents.z[latents.z > 1].sum()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Counts, "every step changes regularizer.steps on the processor"),
        (Picks, "test_cuda_graph.py (forward) waits for values of the device"),
    ],
)
def test_a_step_that_a_replay_would_not_repeat_stays_an_ordinary_one(
    part: type[Regularizer], reason: str, tmp_path: Path
) -> None:
    models = [
        trained("vae", tmp_path, f"cuda_graph={mode}", regularizer=part(latent_size=8))
        for mode in ("false", "rehearse")
    ]
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    assert reason in str(models[1].done.cuda_graph)


def test_what_cannot_be_recorded_is_an_error_that_says_what_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Rehearsal, function: object, example: Tensor) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr(Rehearsal, "record", fails)
    with pytest.raises(UserError, match=r"\(operation not permitted when stream is capturing\): take cuda_graph=false"):
        trained("vae", tmp_path, "cuda_graph=rehearse")
    with pytest.raises(UserError, match="cuda_graph=maybe: choose true, false or rehearse"):
        trained("vae", tmp_path, "cuda_graph=maybe")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_a_graph_trains_like_ordinary_steps(tmp_path: Path) -> None:
    for method in options("method"):
        ordinary, replayed = (trained(method, tmp_path, f"cuda_graph={mode}") for mode in ("false", "true"))
        assert str(replayed.done.cuda_graph).startswith(("yes", "no: "))
        for name, weight in ordinary.state_dict().items():
            torch.testing.assert_close(
                weight, replayed.state_dict()[name], rtol=1e-4, atol=1e-5, msg=f"{method}: {name}"
            )
