"""A sampler draws finite latents, and those of a fitted one are spread as the codes it was fitted to."""

import pytest
import torch
from torch import Tensor

from options import options, part_of

SIZES = [1, 2, 16]


def fitted(option: str, latents: Tensor, seed: int = 0) -> Tensor:
    """Twenty thousand draws of a sampler fitted to the latents."""
    sampler = part_of("sampler", option)
    prior = part_of("prior", "normal", latent_size=latents.shape[1], shape=(1, 8, 8))
    sampler.fit(prior=prior(None), latents=latents if sampler.needs_latents else None, seed=seed)
    torch.manual_seed(seed)
    draws: Tensor = sampler.draw(20_000)
    assert draws.shape == (20_000, latents.shape[1])
    assert draws.dtype == latents.dtype
    assert draws.isfinite().all()
    return draws


def correlated(latent_size: int, n: int = 2000) -> Tensor:
    """Codes of full covariance away from the origin."""
    return torch.randn(n, latent_size) @ torch.randn(latent_size, latent_size) + 3 * torch.randn(latent_size)


def is_fitted(option: str) -> bool:
    return bool(part_of("sampler", option).needs_latents)


def assert_same_moments(draws: Tensor, latents: Tensor) -> None:
    """Means and covariances agree to a tenth of the codes' scale: a fit may smooth, and its draws are many, not all."""
    draws, latents = draws.double(), latents.double()
    scale = latents.std(0)
    assert ((draws.mean(0) - latents.mean(0)).abs() <= 0.1 * scale).all()
    difference = torch.atleast_2d(torch.cov(draws.T) - torch.cov(latents.T))
    assert (difference.abs() <= 0.1 * torch.outer(scale, scale)).all()


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("sampler"))
def test_its_draws_have_the_moments_of_what_it_draws_from(option: str, latent_size: int) -> None:
    codes = correlated(latent_size)
    draws = fitted(option, codes)
    # What is not fitted draws from the prior, N(0, I).
    assert_same_moments(draws, codes if is_fitted(option) else torch.randn(20_000, latent_size))


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("sampler"))
def test_a_dead_dimension_stays_where_it_is(option: str, latent_size: int) -> None:
    codes = correlated(latent_size)
    codes[:, -1] = 0.5
    draws = fitted(option, codes)
    if is_fitted(option):
        # A hundredth of the others' scale (about 1): a floor under the variance may be there, and no more.
        assert (draws[:, -1] - 0.5).abs().mean() < 0.01


@pytest.mark.parametrize("option", options("sampler"))
def test_codes_on_a_line_with_far_outliers_are_drawn_from(option: str) -> None:
    codes = torch.randn(2000, 1) ** 5 @ torch.randn(1, 16)
    draws = fitted(option, codes)
    if is_fitted(option):
        values = torch.linalg.svdvals(draws.double() - draws.double().mean(0))
        assert values[1] < 0.02 * values[0], "they stay near the line"


@pytest.mark.parametrize("option", options("sampler"))
def test_where_the_origin_lies_does_not_matter(option: str) -> None:
    codes = torch.randn(2000, 2) * torch.tensor([1.0, 0.02])
    draws = fitted(option, codes + torch.tensor([100.0, 0.0]))
    if is_fitted(option):
        assert_same_moments(draws, codes + torch.tensor([100.0, 0.0]))


@pytest.mark.parametrize("option", options("sampler"))
def test_the_same_seed_gives_the_same_latents(option: str) -> None:
    codes = correlated(2, n=300)
    assert torch.equal(fitted(option, codes, seed=1), fitted(option, codes, seed=1))
    assert not torch.equal(fitted(option, codes, seed=1), fitted(option, codes, seed=2))
