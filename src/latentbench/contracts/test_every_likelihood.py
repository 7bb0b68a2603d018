"""A likelihood is a density, or a probability, of the pixels it says it is one of."""

import pytest
import scipy.integrate
import torch
from torch.distributions import constraints

from latentbench.contracts.options import few_digits, options, part_of, some_images, untrained
from latentbench.likelihoods.base import PixelDistribution


def grid(pixels: PixelDistribution) -> torch.Tensor:
    """Grey values over all of a distribution's support; where it names none, the real line."""
    try:
        whole = pixels.support is not constraints.unit_interval
    except NotImplementedError:
        whole = True
    return torch.linspace(-60, 60, 24_001) if whole else torch.linspace(0, 1, 2_001)


@pytest.mark.parametrize("raw", [-2.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_one_pixel_has_probability_one_in_all(likelihood: str, raw: float) -> None:
    made = part_of("likelihood", likelihood)
    pixels = made(torch.full((1, 1, 1, 1), raw))
    possible = {"grey": grid(pixels), "binary": torch.tensor([0.0, 1.0])}
    probability = {kind: pixels.log_prob(x.reshape(-1, 1, 1, 1)).exp().detach() for kind, x in possible.items()}
    assert made.not_a_density_of(binary=False) or made.not_a_density_of(binary=True), "not both"
    # Sums in single precision, of up to 24,000 terms.
    if made.not_a_density_of(binary=True) is None:
        assert probability["binary"].sum() == pytest.approx(1, abs=1e-5)
    if made.not_a_density_of(binary=False) is None:
        assert scipy.integrate.trapezoid(probability["grey"], possible["grey"]) == pytest.approx(1, abs=1e-4)


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
    raw, x = torch.randn(5, 4, 3, 6, 7), torch.rand(4, 3, 6, 7).round()
    pixels = made(raw)
    assert pixels.batch_shape == (5, 4)
    assert pixels.event_shape == (3, 6, 7)
    assert pixels.log_prob(x).shape == (5, 4)
    apart = made(raw[2, 1].reshape(-1, 1, 1, 1)).log_prob(x[1].reshape(-1, 1, 1, 1))
    torch.testing.assert_close(pixels.log_prob(x)[2, 1], apart.sum(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("likelihood", options("likelihood"))
def test_a_models_image_is_in_range_and_every_weight_of_the_likelihood_learns(likelihood: str) -> None:
    data = few_digits()
    model = untrained(data, f"likelihood={likelihood}")
    images = model.decode(20 * torch.randn(50, 8))
    assert images.shape == (50, *data.shape)
    assert images.min() >= 0
    assert images.max() <= 1
    raw = torch.randn(16, *data.shape, requires_grad=True)
    model.likelihood(raw).log_prob(some_images(data)).sum().backward()
    for name, weight in model.likelihood.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
