"""A sampler draws finite latents, and those of a fitted one are spread as the codes it was fitted to."""

import pytest
import torch
from torch import Tensor

from latentbench.contracts.options import brief_sampler, options, part_of
from latentbench.samplers.base import Sampler

SIZES = [1, 2, 16]
STEPS = 60  # of a trained sampler whose moments are compared: past the first choice between its weights
# They do not keep the codes' covariance; tests/reference/test_sampler_reference.py has what they draw.
WIDER = ("box", "kde")
WITHOUT_CORRELATION = ("box",)
# scikit-learn says so of a mixture that is fitted to a single point.
ONE_CLUSTER = pytest.mark.filterwarnings("ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning")


def drawn(sampler: Sampler, latents: Tensor, seed: int = 0, n: int = 20_000) -> Tensor:
    """Draws of a sampler fitted to the latents, as it is when a model is evaluated."""
    prior = part_of("prior", "normal", latent_size=latents.shape[1], shape=(1, 8, 8))
    with torch.no_grad():
        sampler.fit(prior=prior(None), latents=latents if sampler.needs_latents else None, seed=seed)
        torch.manual_seed(seed)
        draws = sampler.draw(n)
    assert draws.shape == (n, latents.shape[1])
    assert draws.dtype == (latents.dtype if sampler.needs_latents else torch.float32)
    assert draws.device == latents.device
    assert draws.isfinite().all()
    return draws


def fitted(option: str, latents: Tensor, seed: int = 0, n: int = 2000) -> Tensor:
    """Draws of an option, trained for a few steps where it is trained: what holds for any training."""
    return drawn(brief_sampler(option), latents, seed, n)


def correlated(latent_size: int, n: int = 2000) -> Tensor:
    """Codes of full covariance away from the origin."""
    return torch.randn(n, latent_size) @ torch.randn(latent_size, latent_size) + 3 * torch.randn(latent_size)


def is_fitted(option: str) -> bool:
    return bool(part_of("sampler", option).needs_latents)


def assert_same_moments(option: str, draws: Tensor, latents: Tensor) -> None:
    """Means and covariances agree to a tenth of the codes' scale: a fit may smooth, and its draws are many, not all."""
    draws, latents = draws.double(), latents.double()
    scale = latents.std(0)
    from_mean = (draws.mean(0) - latents.mean(0)).abs() / scale
    if option in WIDER:
        assert (from_mean <= 1).all()
        assert (0.9 * scale <= draws.std(0)).all()
        assert (draws.std(0) <= 3 * scale).all()
        return
    assert (from_mean <= 0.1).all()
    difference = torch.atleast_2d(torch.cov(draws.T) - torch.cov(latents.T))
    assert (difference.abs() <= 0.1 * torch.outer(scale, scale)).all()


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("sampler"))
def test_its_draws_have_the_moments_of_what_it_draws_from(option: str, latent_size: int) -> None:
    codes = correlated(latent_size)
    draws = drawn(brief_sampler(option, STEPS), codes)
    # What is not fitted draws from the prior, N(0, I).
    assert_same_moments(option, draws, codes if is_fitted(option) else torch.randn(20_000, latent_size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("option", options("sampler"))
def test_draws_are_of_the_codes_precision(option: str, dtype: torch.dtype) -> None:
    codes = correlated(3).to(dtype)
    draws = fitted(option, codes, n=20_000)  # which asserts it
    if is_fitted(option):
        assert_same_moments(option, draws, codes)


@ONE_CLUSTER
@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("sampler"))
def test_a_dead_dimension_stays_where_it_is(option: str, latent_size: int) -> None:
    codes = correlated(latent_size)
    codes[:, -1] = 0.5
    draws = fitted(option, codes)
    if is_fitted(option):
        # A hundredth of the others' scale (about 1): a floor under the variance may be there, and no more.
        assert (draws[:, -1] - 0.5).abs().mean() < 0.01


@ONE_CLUSTER
@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("sampler"))
def test_codes_all_alike_are_drawn_again(option: str, latent_size: int) -> None:
    code = torch.randn(latent_size)
    draws = fitted(option, code.expand(300, -1))
    if is_fitted(option):
        torch.testing.assert_close(draws, code.expand(len(draws), -1))


@pytest.mark.parametrize("option", options("sampler"))
def test_codes_on_a_line_with_far_outliers_are_drawn_from(option: str) -> None:
    codes = torch.randn(2000, 1) ** 5 @ torch.randn(1, 16)
    draws = fitted(option, codes)
    if is_fitted(option) and option not in WITHOUT_CORRELATION:
        values = torch.linalg.svdvals(draws.double() - draws.double().mean(0))
        assert values[1] < 0.02 * values[0], "they stay near the line"


@pytest.mark.parametrize("option", options("sampler"))
def test_fewer_codes_than_dimensions_are_drawn_from(option: str) -> None:
    codes = correlated(30, n=20)
    draws = fitted(option, codes)
    if is_fitted(option):
        assert (codes.amin(0) <= draws.mean(0)).all()
        assert (draws.mean(0) <= codes.amax(0)).all()
        assert (draws.std(0) <= 3 * codes.std(0)).all()


@pytest.mark.parametrize("option", options("sampler"))
def test_few_codes_of_very_many_dimensions_are_drawn_from_their_span(option: str) -> None:
    codes = torch.randn(12, 4) @ torch.randn(4, 10_000)  # whose covariance matrix would take 0.8 GB
    draws = fitted(option, codes, n=50)
    if is_fitted(option) and option not in WITHOUT_CORRELATION:
        values = torch.linalg.svdvals(torch.cat([codes, draws]))
        assert values[4] < 1e-3 * values[0]


@pytest.mark.parametrize("option", options("sampler"))
def test_where_the_origin_lies_does_not_matter(option: str) -> None:
    codes = torch.randn(2000, 2) * torch.tensor([1.0, 0.02])
    draws = fitted(option, codes + torch.tensor([100.0, 0.0]), n=20_000)
    if is_fitted(option):
        assert_same_moments(option, draws, codes + torch.tensor([100.0, 0.0]))


@pytest.mark.parametrize("option", options("sampler"))
def test_the_same_seed_gives_the_same_latents(option: str) -> None:
    codes = correlated(2, n=300)
    first = fitted(option, codes, seed=1)
    torch.randn(7)  # what is drawn before a fit does not matter to it
    assert torch.equal(first, fitted(option, codes, seed=1))
    assert not torch.equal(first, fitted(option, codes, seed=2))
