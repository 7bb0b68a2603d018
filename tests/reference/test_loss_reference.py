"""The loss of an autoencoder, written out: E[-log p(x|z)] + beta * R, and its gradients."""

import math

import pytest
import torch
from torch import Tensor

from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import untrained
from latentbench.models.autoencoder import Autoencoder
from latentbench.posteriors.dirac import Dirac
from latentbench.regularizers.base import Latents

BETA = 2.5


def model_of(method: str, likelihood: str) -> Autoencoder:
    model = untrained(few_digits(), f"method={method}", f"likelihood={likelihood}", f"beta={BETA}")
    assert isinstance(model, Autoencoder)
    return model


def written_out_distortion(model: Autoencoder, x: Tensor, z: Tensor, likelihood: str) -> Tensor:
    """-log p(x|z), summed over pixels and averaged over images."""
    raw = model.backbone.decoder(z)
    if likelihood == "bernoulli":
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(raw, x, reduction="sum")
        return entropy / len(x)
    # The learned log scale of conf/likelihood/gaussian.yaml, with its soft bound of -6.
    log_scale = -6 + torch.log1p((10 * model.likelihood.parameter + 6).exp())
    squares = (x - raw).square().sum() / len(x)
    return squares / (2 * log_scale.exp() ** 2) + 64 * (log_scale + 0.5 * math.log(2 * math.pi))


def assert_same_loss_and_gradients(model: Autoencoder, made: Tensor, written: Tensor) -> None:
    torch.testing.assert_close(made, written)
    weights = dict(model.named_parameters())
    ours, theirs = (torch.autograd.grad(loss, list(weights.values())) for loss in (made, written))
    for name, one, other in zip(weights, ours, theirs, strict=True):
        # Sums over 1024 pixels in single precision.
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item(), msg=name)


def assert_adds_up(terms: dict[str, Tensor]) -> None:
    assert set(terms) == {"loss", "distortion", "regularizer"}
    torch.testing.assert_close(terms["loss"], terms["distortion"] + BETA * terms["regularizer"])


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_loss_of_a_vae_is_minus_its_elbo_with_beta_times_the_kl_term(likelihood: str) -> None:
    model, x = model_of("vae", likelihood), some_images(few_digits(), 16)
    terms, latents = model.terms(x)
    mean, log_scale = model.head(model.backbone.encoder(x)).chunk(2, 1)
    noise = ((latents.z - mean) / log_scale.exp()).detach()
    assert 0.8 < noise.std() < 1.2
    distortion = written_out_distortion(model, x, mean + log_scale.exp() * noise, likelihood)
    kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum() / len(x)
    torch.testing.assert_close(terms["regularizer"], kl)
    assert_adds_up(terms)
    assert_same_loss_and_gradients(model, terms["loss"], distortion + BETA * kl)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_loss_of_a_wae_has_beta_times_the_mmd_of_its_codes(
    likelihood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = model_of("wae_mmd", likelihood), some_images(few_digits(), 16)
    draw = torch.randn(8)
    monkeypatch.setattr(model, "prior_distribution", lambda: Dirac(draw))
    terms, _ = model.terms(x)

    z = model.head(model.backbone.encoder(x))
    squared_between = (z[:, None] - z[None]).square().sum(2)
    squared_to_draw = (z - draw).square().sum(1)
    constants = [s * 2 * 8 for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    others = ~torch.eye(16, dtype=torch.bool)
    # All draws of the prior are one point here: k = 1 between any two of them.
    mmd = sum(
        (c / (c + squared_between))[others].mean() + 1 - 2 * (c / (c + squared_to_draw)).mean() for c in constants
    )
    torch.testing.assert_close(terms["regularizer"], mmd, rtol=1e-4, atol=1e-5)
    assert_adds_up(terms)
    assert_same_loss_and_gradients(model, terms["loss"], written_out_distortion(model, x, z, likelihood) + BETA * mmd)


def test_a_plain_autoencoders_loss_is_its_distortion_whatever_beta() -> None:
    model, x = model_of("ae", "gaussian"), some_images(few_digits())
    terms, latents = model.terms(x)
    assert isinstance(latents, Latents)
    assert terms["regularizer"] == 0
    z = model.head(model.backbone.encoder(x))
    assert_same_loss_and_gradients(model, terms["loss"], written_out_distortion(model, x, z, "gaussian"))
