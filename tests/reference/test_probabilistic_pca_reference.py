"""A linear VAE, trained to convergence, against the closed-form optimum of probabilistic PCA."""

import math

import pytest
import torch
from torch import Tensor

from latentbench.contracts.images import data_set, some_images
from latentbench.contracts.options import autoencoder, composed
from latentbench.metrics.negative_log_likelihood import importance_weighted_log_likelihood
from latentbench.models.autoencoder import Autoencoder
from latentbench.reporting.published_numbers import published_numbers
from latentbench.running.train import build_recipe

LATENT_SIZE = 8
STEPS = 1600


def greatest_log_likelihood(x: Tensor) -> tuple[float, float]:
    """Of probabilistic PCA, nats per image, and its scale of noise (Tipping & Bishop 1999, equations 5 and 8)."""
    rows = x.flatten(1).double()
    pixels = rows.shape[1]
    variances = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    kept, noise = variances[:LATENT_SIZE], variances[LATENT_SIZE:].mean()
    nats = pixels * math.log(2 * math.pi) + kept.log().sum() + (pixels - LATENT_SIZE) * noise.log() + pixels
    return -0.5 * nats.item(), noise.sqrt().item()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return some_images(data_set("digits"), 400)


@pytest.fixture(scope="module")
def trained(images: Tensor) -> Autoencoder:
    """latentbench backbone=linear, in full batches and with a learning rate that falls to 0."""
    model = autoencoder(data_set("digits"), latent_size=LATENT_SIZE, backbone="linear")
    model.recipe = build_recipe(composed())
    (optimizer,) = model.configure_optimizers()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS)
        optimizer.zero_grad()
        model.terms(images)[0]["loss"].backward()
        optimizer.step()
    return model


@torch.no_grad()
def exact_log_likelihood(model: Autoencoder, x: Tensor) -> float:
    """Mean of log N(x; b, W W^T + s^2 I) over images, nats, in double precision."""
    affine = model.backbone.decoder[0]
    columns, scale = affine.weight.double(), model.likelihood.facts()["likelihood_scale"]
    covariance = columns @ columns.T + scale**2 * torch.eye(len(columns)).double()
    marginal = torch.distributions.MultivariateNormal(affine.bias.double(), covariance)
    return marginal.log_prob(x.flatten(1).double()).mean().item()


@torch.no_grad()
def exact_elbo(model: Autoencoder, x: Tensor) -> float:
    """E_q log p(x|z) - KL(q || p) of a linear decoder: the spread of z adds its own squares to those of the mean."""
    mean, log_scale = (part.double() for part in model.head(x.flatten(1)).chunk(2, 1))
    affine = model.backbone.decoder[0]
    columns, scale = affine.weight.double(), model.likelihood.facts()["likelihood_scale"]
    errors = (x.flatten(1) - mean @ columns.T - affine.bias).square().sum(1)
    spread = (2 * log_scale).exp() @ columns.square().sum(0)
    distortion = (errors + spread) / (2 * scale**2) + 64 * (math.log(scale) + 0.5 * math.log(2 * math.pi))
    rate = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
    return -(distortion + rate).mean().item()


def test_the_elbo_reaches_the_greatest_likelihood_and_does_not_pass_it(trained: Autoencoder, images: Tensor) -> None:
    greatest, noise = greatest_log_likelihood(images)
    elbo, likelihood = exact_elbo(trained, images), exact_log_likelihood(trained, images)
    # In nats, of about 15; the axes of the latents are found last.
    assert greatest - 0.1 < elbo
    # The ELBO is a lower bound and the optimum an upper one, but for the scale's single precision.
    assert elbo < likelihood + 1e-4 < greatest + 2e-4
    assert trained.likelihood.facts()["likelihood_scale"] == pytest.approx(noise, rel=0.01)


@torch.no_grad()
def test_the_loss_is_minus_the_exact_elbo(trained: Autoencoder, images: Tensor) -> None:
    losses = torch.stack([trained.terms(images)[0]["loss"] for _ in range(200)])
    error = losses.std().item() / 200**0.5
    assert -losses.mean().item() == pytest.approx(exact_elbo(trained, images), abs=5 * error)
    assert error < 0.02


@torch.no_grad()
def test_importance_sampling_gives_the_exact_likelihood_of_the_trained_model(
    trained: Autoencoder, images: Tensor
) -> None:
    some = images[:200]
    estimates = importance_weighted_log_likelihood(trained, some, 500)
    # The encoder is nearly the true posterior: all weights are nearly alike.
    assert estimates.mean().item() == pytest.approx(exact_log_likelihood(trained, some), abs=0.02)
    bound = trained.posterior_distribution(some)
    assert bound.mean.std() > 0.5, "the codes are not ignored"
    everywhere = importance_weighted_log_likelihood(trained, images, 100).mean().item()
    greatest, _ = greatest_log_likelihood(images)
    assert greatest - 0.1 < everywhere < greatest + 0.02


def test_the_decoder_spans_the_principal_components(trained: Autoencoder, images: Tensor) -> None:
    rows = images.flatten(1)
    components = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:LATENT_SIZE]
    span = torch.linalg.qr(trained.backbone.decoder[0].weight.detach()).Q
    cosines = torch.linalg.svdvals(components @ span)
    assert cosines.min() > 0.98  # of the angles between the two spaces; at random the least is about 0.05
    torch.testing.assert_close(trained.backbone.decoder[0].bias.detach(), rows.mean(0), rtol=0, atol=0.01)


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_the_study_compares_with_the_optimum(data: str) -> None:
    images = data_set(data)
    rows, test = (images.images(split).flatten(1).double() for split in ("train", "test"))
    variances, axes = (part.flip(-1) for part in torch.linalg.eigh(torch.cov(rows.T, correction=0)))
    numbers = [n for n in published_numbers(composed("sweep=reproduce_ppca")) if n.data == data]
    assert len(numbers) == 3
    for number in numbers:
        size = number.term.row["latent_size"]
        best = torch.cat([variances[:size], variances[size:].mean().expand(len(variances) - size)])
        marginal = torch.distributions.Normal(0, best.sqrt()).log_prob((test - rows.mean(0)) @ axes).sum(1)
        assert number.value == pytest.approx(-marginal.mean().item(), abs=5e-5)
