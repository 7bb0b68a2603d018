"""Likelihoods of grey levels, and the absolute error, against sums of float64 and torch's distributions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax
from scipy.stats import logistic
from torch import Tensor
from torch.distributions import Categorical, Laplace

from latentbench.contracts.images import noise_images
from latentbench.contracts.options import autoencoder, inputs, part_of
from latentbench.likelihoods.levels import logistic_log_prob, logistic_mean
from latentbench.models.autoencoder import Autoencoder

LEVELS = np.arange(256)


def probabilities(location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Of all levels, for locations and scales (..., 1): differences in the tail where they keep their digits."""
    edges = np.concatenate([[-np.inf], LEVELS[:-1] + 0.5, [np.inf]])
    u = (edges - location) / scale
    below, above = np.diff(logistic.cdf(u)), -np.diff(logistic.sf(u))
    return np.where(u[..., 1:] > 0, above, below)


@pytest.mark.parametrize("scale", [0.1, 0.5, 3.0, 30.0, 1000.0])
def test_log_probabilities_of_a_rounded_logistic_are_differences_of_its_distribution_function(scale: float) -> None:
    location = np.array([-300.0, -20.0, 0.0, 3.2, 127.5, 200.0, 255.0, 400.0])[:, None]
    wanted = probabilities(location, np.array([scale]))
    assert wanted.sum(-1) == pytest.approx(1)
    level = torch.arange(256.0)
    made = logistic_log_prob(level, torch.from_numpy(location).float(), torch.tensor(scale).log()).double()
    # Far from the location, float64 has no difference left; there the tail is exponential.
    is_left = wanted > 1e-290
    assert (made.numpy()[~is_left] < -600).all()
    np.testing.assert_allclose(made.numpy()[is_left], np.log(wanted[is_left]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "within"), [(0.05, 0.5), (0.5, 1 / 40), (2.0, 1 / 40), (50.0, 1 / 40)])
def test_the_mean_of_a_clipped_logistic_is_nearly_that_of_the_rounded_one(scale: float, within: float) -> None:
    location = np.linspace(-20, 275, 1000)[:, None]
    wanted = probabilities(location, np.array([scale])) @ LEVELS
    made = logistic_mean(torch.from_numpy(location[:, 0]), torch.tensor(scale).double().log())
    assert np.abs(made.numpy() - wanted).max() < within


def mixture_log_prob(raw: np.ndarray, levels: np.ndarray) -> float:
    """Of one pixel of three channels, by its definition. raw: (K, 10)."""
    x = levels / 127.5 - 1
    total = 0.0
    for weight, numbers in zip(softmax(raw[:, 0]), raw[:, 1:], strict=True):
        location, scale, (a, b, c) = numbers[:3], np.exp(np.maximum(numbers[3:6], -7)), np.tanh(numbers[6:])
        location = location + np.array([0, a * x[0], b * x[0] + c * x[1]])
        upper = np.where(levels == 255, 1, expit((x + 1 / 255 - location) / scale))
        lower = np.where(levels == 0, 0, expit((x - 1 / 255 - location) / scale))
        total += weight * np.prod(upper - lower)
    return math.log(total)


def test_a_logistic_mixture_is_its_definition_in_float64() -> None:
    made = part_of("likelihood", "logistic_mixture", components=4)
    raw, levels = torch.randn(200, 40, 1, 1).double(), torch.randint(0, 256, (200, 3, 1, 1)).double()
    levels[:50] = levels[:50].clamp(100, 101) * 255 - 100 * 255  # black and white
    pairs = zip(raw.view(200, 4, 10).numpy(), levels.view(200, 3).numpy(), strict=True)
    wanted = [mixture_log_prob(*pair) for pair in pairs]
    np.testing.assert_allclose(made(raw).log_prob(levels / 255).numpy(), wanted, rtol=1e-8)


def test_a_mixture_mean_image_is_that_of_draws_though_the_range_cuts_channels_off() -> None:
    made = part_of("likelihood", "logistic_mixture")
    raw = torch.randn(30, 10, 10)
    raw[..., 4:7] -= 1  # scales of a fifth of the range
    pixels = made(raw.view(30, 100, 1, 1))
    draws = pixels.sample((20_000,))
    off = 255 * (draws.mean(0) - pixels.mean).squeeze()
    error = 255 * draws.std(0).squeeze() / 20_000**0.5
    assert (off.square() - error.square()).mean(0).max().sqrt() < 1, "a grey level"


def test_a_mean_image_of_four_dependent_channels_is_that_of_draws_in_every_pixel() -> None:
    numbers = (torch.zeros(60, 1), 1.2 * torch.randn(60, 4), 7 * torch.rand(60, 4) - 6, 2 * torch.randn(60, 6))
    pixels = part_of("likelihood", "logistic_mixture", components=1)(torch.cat(numbers, 1)[..., None, None])
    draws = pixels.sample((20_000,))
    error = draws.std(0) / 20_000**0.5
    assert (255 * ((draws.mean(0) - pixels.mean).abs() - 4 * error)).max() < 2, "grey levels"


def test_a_mixture_of_one_component_and_one_channel_is_the_logistic() -> None:
    raw, x = torch.randn(5, 1, 3, 3), torch.rand(5, 1, 3, 3)
    one = part_of("likelihood", "logistic", scale=0.1)(raw)
    log_scale = torch.full_like(raw, math.log(0.2))  # the mixture's pixels are in [-1, 1]
    mixture = part_of("likelihood", "logistic_mixture", components=1)(torch.cat([raw, 2 * raw - 1, log_scale], 1))
    torch.testing.assert_close(mixture.log_prob(x), one.log_prob(x))
    torch.testing.assert_close(mixture.mean, one.mean)


def test_categorical_pixels_and_laplace_pixels_are_torchs() -> None:
    logits, level = torch.randn(5, 3, 256, 2, 2), torch.randint(0, 256, (5, 3, 2, 2))
    theirs = Categorical(logits=logits.movedim(2, -1)).log_prob(level).sum((1, 2, 3))
    torch.testing.assert_close(part_of("likelihood", "categorical")(logits.flatten(1, 2)).log_prob(level / 255), theirs)
    raw, x = torch.randn(5, 3, 2, 2), torch.rand(5, 3, 2, 2)
    theirs = Laplace(raw, 0.3).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(part_of("likelihood", "laplace", scale=0.3)(raw).log_prob(x), theirs)


# nll and ais of a decoder of one latent dimension, of which quadrature gives the likelihood


def exact_log_likelihood(model: Autoencoder, x: Tensor) -> np.ndarray:
    z = torch.linspace(-8, 8, 2001)[:, None, None]
    joint = model.pixel_log_prob(x, z) + model.prior_distribution().log_prob(z)
    found: np.ndarray = logsumexp(joint.double().numpy(), axis=0) + math.log(16 / 2000)
    return found


@pytest.mark.parametrize("likelihood", ["laplace", "logistic", "logistic_mixture", "categorical"])
@torch.no_grad()
def test_nll_and_ais_are_the_likelihood(likelihood: str) -> None:
    model = autoencoder(noise_images((3, 2, 2)), latent_size=1, likelihood=likelihood)
    for weight in model.backbone.decoder.parameters():
        weight.mul_(2)
    x = model.sample_pixels(model.prior_distribution().sample((10,)))
    wanted = -exact_log_likelihood(model, x).mean()
    settings: dict[str, dict[str, Any]] = {"nll": {"samples": 500}, "ais": {"temperatures": 50, "pilot": 20}}
    found = {
        name: part_of("metric", name, **settings[name]).measure(inputs(x, model=model)).values for name in settings
    }
    assert found["nll"]["nll/test"] == pytest.approx(wanted, abs=0.03)
    assert found["nll"]["bits_per_dim/test"] == pytest.approx(found["nll"]["nll/test"] / 12 / math.log(2))
    assert found["ais"]["ais/test"] == pytest.approx(wanted, abs=0.05)
