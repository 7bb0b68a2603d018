"""A likelihood is a density, or a probability, of the pixels it says it is one of."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import constraints

from latentbench.contracts.grids import assert_drawn_from
from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import options, part_of, untrained
from latentbench.likelihoods.base import PixelDistribution

# Those that are no density of any pixels are losses.
DISTRIBUTIONS = [
    option
    for option in options("likelihood")
    if any(part_of("likelihood", option).not_a_density_of(binary=binary) is None for binary in (False, True))
]


def raw_of(made: Any, channels: int, *shape: int, around: float = 0.0, spread: float = 1.0) -> Tensor:
    """Raw outputs (*shape, C', 1, 1) at random, for pixels of so many channels."""
    return around + spread * torch.randn(*shape, made.raw_channels(channels), 1, 1)


def values_and_volumes(made: Any, pixels: PixelDistribution) -> tuple[Tensor, Tensor]:
    """Values all over the support of a pixel and what each stands for: 1 if they are all that there are."""
    if made.levels or made.not_a_density_of(binary=True) is None:
        values = torch.linspace(0, 1, made.levels or 2)
        return values, torch.ones_like(values)
    try:
        low, high, n = (0, 1, 4_000) if pixels.support is constraints.unit_interval else (-60, 60, 24_000)
    except NotImplementedError:  # it names none: the real line
        low, high, n = -60, 60, 24_000
    return low + (high - low) * (torch.arange(n) + 0.5) / n, torch.full((n,), (high - low) / n)


@pytest.mark.parametrize("around", [-2.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("likelihood", DISTRIBUTIONS)
def test_one_pixel_has_probability_one_in_all_and_is_drawn_with_it(likelihood: str, around: float) -> None:
    made = part_of("likelihood", likelihood).requires_grad_(False)
    assert made.not_a_density_of(binary=False) or made.not_a_density_of(binary=True), "not both"
    pixels = made(raw_of(made, 1, 1, around=around))
    values, volumes = values_and_volumes(made, pixels)
    mass = (pixels.log_prob(values.reshape(-1, 1, 1, 1)).exp() * volumes).double()
    assert mass.sum() == pytest.approx(1, abs=1e-4)  # sums in single precision, of up to 24,000 terms
    draws = pixels.sample((20_000,))
    assert draws.shape == (20_000, 1, 1, 1, 1)
    assert_drawn_from(draws.reshape(-1, 1).double(), values[:, None].double(), mass)
    # The mean of rounded values may be that before rounding.
    assert pixels.mean.item() == pytest.approx((mass @ values.double()).item(), abs=2e-3 if made.levels else 1e-3)


@pytest.mark.parametrize("likelihood", [option for option in DISTRIBUTIONS if part_of("likelihood", option).levels])
def test_two_channels_of_levels_have_probability_one_in_all(likelihood: str) -> None:
    made = part_of("likelihood", likelihood).requires_grad_(False)
    levels = torch.linspace(0, 1, made.levels)
    pairs = torch.cartesian_prod(levels, levels)[:, :, None, None]
    mass = made(raw_of(made, 2, 1)).log_prob(pairs).double().exp()
    assert mass.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("likelihood", DISTRIBUTIONS)
def test_the_mean_image_is_that_of_draws(likelihood: str) -> None:
    made = part_of("likelihood", likelihood).requires_grad_(False)
    pixels = made(0.5 + 0.3 * torch.randn(made.raw_channels(3), 2, 2))
    draws = pixels.sample((5_000,))
    error = draws.std(0) / 5_000**0.5
    assert ((draws.mean(0) - pixels.mean).abs() < 5 * error + 2e-3).all()


@pytest.mark.parametrize("size", [10.0, 1e4])
@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_extreme_raw_outputs_have_finite_log_probabilities_and_gradients(likelihood: str, size: float) -> None:
    made = part_of("likelihood", likelihood)
    raw = raw_of(made, 3, 200, spread=size).requires_grad_()
    pixels = made(raw)
    x = torch.randint(0, 2, (200, 3, 1, 1)) * torch.rand(200, 3, 1, 1).round(decimals=1)
    for value in (pixels.log_prob(x.ceil()), pixels.log_prob(x), pixels.mean.clamp(0, 1)):
        assert value.isfinite().all()
        made.zero_grad()
        (gradient,) = torch.autograd.grad(value.sum(), raw, retain_graph=True)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_it_says_what_to_take_for_pixels_it_is_no_density_of(likelihood: str) -> None:
    made = part_of("likelihood", likelihood)
    reasons = {binary: made.not_a_density_of(binary=binary) for binary in (False, True)}
    for reason in filter(None, reasons.values()):
        assert "take" in reason
        assert "likelihood=" in reason
        assert "data.binarize=" in reason or "not a density:" in reason


@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_its_log_probability_sums_over_pixels_and_leaves_draws_and_images_apart(likelihood: str) -> None:
    made = part_of("likelihood", likelihood)
    raw, x = torch.randn(5, 4, made.raw_channels(3), 6, 7), torch.rand(4, 3, 6, 7).round()
    pixels = made(raw)
    assert pixels.batch_shape == (5, 4)
    assert pixels.event_shape == (3, 6, 7)
    assert pixels.mean.shape == pixels.sample().shape == (5, 4, 3, 6, 7)
    assert pixels.log_prob(x).shape == (5, 4)
    apart = made(raw[2, 1].flatten(1).T[:, :, None, None]).log_prob(x[1].flatten(1).T[:, :, None, None])
    torch.testing.assert_close(pixels.log_prob(x)[2, 1], apart.sum(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_a_models_image_is_in_range_and_every_weight_of_the_likelihood_learns(likelihood: str) -> None:
    data = few_digits()
    model = untrained(data, f"likelihood={likelihood}")
    images = model.decode(20 * torch.randn(50, 8))
    assert images.shape == (50, *data.shape)
    assert images.min() >= 0
    assert images.max() <= 1
    raw = torch.randn(16, model.likelihood.raw_channels(1), *data.shape[1:], requires_grad=True)
    model.likelihood(raw).log_prob(some_images(data)).sum().backward()
    for name, weight in model.likelihood.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
