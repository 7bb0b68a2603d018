"""A prior is a normalised density, and its draws follow it."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import nn
from torch.distributions import Distribution

from options import options, part_of

SHAPE = (1, 2, 2)


def prior(option: str, latent_size: int) -> tuple[Distribution, nn.Module]:
    """p(z), away from its first weights where it learns, and the prior; the encoder is a real Gaussian one."""
    made = part_of("prior", option, latent_size=latent_size, shape=SHAPE)
    encoder = nn.Sequential(nn.Flatten(), part_of("posterior", "gaussian", features=4, latent_size=latent_size))
    with torch.no_grad():
        for weight in [*made.parameters(), *encoder.parameters()]:
            weight.add_(0.5 * torch.randn_like(weight))
    return made(encoder), made


@pytest.mark.parametrize("option", options("prior"))
def test_its_density_integrates_to_one_over_a_line(option: str) -> None:
    p, _ = prior(option, 1)
    z = torch.linspace(-25, 25, 20_001)[:, None]
    mass = scipy.integrate.trapezoid(p.log_prob(z).exp().detach(), z[:, 0])
    assert mass == pytest.approx(1, abs=1e-4)  # of the trapezoids, where a density has a kink


@pytest.mark.parametrize("option", options("prior"))
def test_its_density_integrates_to_one_over_a_plane(option: str) -> None:
    p, _ = prior(option, 2)
    axis = torch.linspace(-10, 10, 201)
    density = p.log_prob(torch.cartesian_prod(axis, axis)).exp().detach().reshape(201, 201)
    mass = scipy.integrate.trapezoid(scipy.integrate.trapezoid(density, axis), axis)
    assert mass == pytest.approx(1, abs=5e-3)  # h^2 / 6 b^2 = 0.0033 for trapezoids of h = 0.1 at Laplace's kinks


@pytest.mark.parametrize("option", options("prior"))
def test_its_draws_follow_its_density(option: str) -> None:
    p, _ = prior(option, 1)
    grid = np.linspace(-25, 25, 20_001)
    density = p.log_prob(torch.tensor(grid, dtype=torch.float32)[:, None]).exp().detach().numpy()
    cumulative = scipy.integrate.cumulative_trapezoid(density, grid, initial=0)
    draws = p.sample((20_000,))[:, 0].numpy()
    # Such a distance happens by chance once in a thousand seeds, and the seed is fixed.
    assert scipy.stats.kstest(draws, lambda z: np.interp(z, grid, cumulative)).pvalue > 1e-3


@pytest.mark.parametrize("latent_size", [1, 2, 64])
@pytest.mark.parametrize("option", options("prior"))
def test_its_draws_are_finite_latents_without_gradients(option: str, latent_size: int) -> None:
    p, _ = prior(option, latent_size)
    assert p.batch_shape == ()
    assert p.event_shape == (latent_size,)
    assert p.sample().shape == (latent_size,)
    draws = p.sample((500,))
    assert draws.shape == (500, latent_size)
    assert draws.isfinite().all()
    assert draws.grad_fn is None
    assert p.log_prob(draws).shape == (500,)
    assert p.log_prob(draws).isfinite().all()


@pytest.mark.parametrize("option", options("prior"))
def test_its_density_has_gradients_to_every_weight_it_learns(option: str) -> None:
    p, made = prior(option, 3)
    if made.is_learned:
        p.log_prob(torch.randn(50, 3)).sum().backward()
    assert made.is_learned == bool(list(made.parameters()))
    for name, weight in made.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name
