"""KL against quadrature, textbook formulas and Monte Carlo; MMD against two loops; the critic against cross-entropy."""

import itertools
import math

import pytest
import scipy.integrate
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal
from torch.nn.functional import binary_cross_entropy_with_logits

from latentbench.posteriors.dirac import Dirac
from latentbench.regularizers.base import Latents
from latentbench.regularizers.kullback_leibler import KullbackLeibler, has_closed_form, kl_per_image
from latentbench.regularizers.maximum_mean_discrepancy import mmd_squared
from options import options, part_of

SHAPE = (1, 2, 2)
SCALES = [0.1, 1.0, 10.0]


def densities(posterior: str, prior: str, latent_size: int) -> tuple[Distribution, Distribution]:
    """q(z|x) of two images and p(z), in double precision and away from first weights."""
    head = part_of("posterior", posterior, features=4, latent_size=latent_size)
    made = part_of("prior", prior, latent_size=latent_size, shape=SHAPE)
    encoder = nn.Sequential(nn.Flatten(), head).double()
    with torch.no_grad():
        for weight in [*made.double().parameters(), *encoder.parameters()]:
            weight.add_(0.3 * torch.randn_like(weight))
    return encoder(torch.rand(2, *SHAPE, dtype=torch.float64)), made(encoder)


def latents(q: Distribution, p: Distribution, z: Tensor) -> Latents:
    return Latents(x=torch.zeros(len(z), *SHAPE), z=z, q=q, p=p, decode=lambda z: z)


def has_a_divergence(posterior: str, prior: str) -> bool:
    head = part_of("posterior", posterior, features=4, latent_size=1)
    made = part_of("prior", prior, latent_size=1, shape=SHAPE)
    return KullbackLeibler(latent_size=1).refuses(posterior=head, prior=made) is None


PAIRS = [pair for pair in itertools.product(options("posterior"), options("prior")) if has_a_divergence(*pair)]


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_kl_is_the_integral_over_a_line(posterior: str, prior: str) -> None:
    q, p = densities(posterior, prior, 1)
    z = torch.linspace(-30, 30, 12_001, dtype=torch.float64)[:, None, None]
    log_q, log_p = q.log_prob(z).detach(), p.log_prob(z).detach()
    known = scipy.integrate.simpson(log_q.exp() * (log_q - log_p), x=z[:, 0, 0], axis=0)
    draws = q.sample((10_000,))
    made = kl_per_image(q, p, draws).detach()
    if has_closed_form(q, p):
        assert made == pytest.approx(known, rel=1e-5)  # of the quadrature, at Laplace's kink
    else:
        error = made.std(0) / 10_000**0.5
        assert (made.mean(0) - torch.from_numpy(known)).abs().max() < 5 * error.max()
        assert error.max() < 0.05, "the test can tell a wrong formula"


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_kl_is_the_mean_log_ratio_in_several_dimensions_and_r_its_mean_over_images(posterior: str, prior: str) -> None:
    q, p = densities(posterior, prior, 5)
    ratios = q.log_prob(draws := q.sample((10_000,))) - p.log_prob(draws)
    error = 5 * (ratios.std(0) / 10_000**0.5).max().item()
    estimates = kl_per_image(q, p, q.sample((10_000,))).reshape(-1, 2).mean(0)
    assert (estimates - ratios.mean(0)).abs().max() < 2 * error
    z = q.sample()
    r = KullbackLeibler(latent_size=5)(latents(q, p, z))
    torch.testing.assert_close(r, kl_per_image(q, p, z).mean())


def test_kl_of_a_gaussian_from_the_standard_normal_is_the_textbooks() -> None:
    mean, scale = torch.randn(7, 5), torch.rand(7, 5) + 0.1
    p = part_of("prior", "normal", latent_size=5, shape=SHAPE)(None)
    known = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum(1)
    torch.testing.assert_close(kl_per_image(Independent(Normal(mean, scale), 1), p, mean), known)
    at_the_prior = Independent(Normal(torch.zeros(7, 5), torch.ones(7, 5)), 1)
    assert not kl_per_image(at_the_prior, p, mean).any(), "nothing where q = p"


def test_the_laplace_prior_has_variance_one_and_its_published_density() -> None:
    p = part_of("prior", "laplace", latent_size=3, shape=SHAPE)(None)
    z = torch.randn(20, 3)
    torch.testing.assert_close(p.log_prob(z), Laplace(0.0, math.sqrt(0.5)).log_prob(z).sum(1))
    torch.testing.assert_close(p.variance, torch.ones(3))


def test_a_vamp_prior_is_the_even_mixture_of_the_posteriors_of_its_pseudo_inputs() -> None:
    made = part_of("prior", "vamp", latent_size=3, shape=SHAPE, components=4)
    encoder = nn.Sequential(nn.Flatten(), part_of("posterior", "gaussian", features=4, latent_size=3))
    z = torch.randn(20, 3)
    mean, log_scale = encoder[1].head(torch.sigmoid(made.pseudo_inputs).flatten(1)).chunk(2, 1)
    density = [Normal(m, s).log_prob(z).sum(1).exp() for m, s in zip(mean, log_scale.exp(), strict=True)]
    torch.testing.assert_close(made(encoder).log_prob(z), torch.stack(density).mean(0).log())


def test_a_mixture_prior_weighs_its_gaussians_by_the_softmax_of_its_logits() -> None:
    made = part_of("prior", "mixture", latent_size=3, shape=SHAPE, components=4)
    with torch.no_grad():
        made.logits.copy_(torch.arange(4.0))
        made.log_scales.normal_()
    z = torch.randn(20, 3)
    weights = torch.arange(4.0).softmax(0)
    parts = zip(weights, made.means, made.log_scales.exp(), strict=True)
    density = sum(w * Normal(m, s).log_prob(z).sum(1).exp() for w, m, s in parts)
    torch.testing.assert_close(made(None).log_prob(z), density.log())


def naive_mmd(a: Tensor, b: Tensor, scales: list[float]) -> float:
    """MMD^2 by loops over pairs."""
    constant = 2 * a.shape[1]

    def kernel(u: Tensor, v: Tensor) -> float:
        return sum(s * constant / (s * constant + (u - v).square().sum().item()) for s in scales)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    own = [mean([kernel(u, v) for u, v in itertools.permutations(points, 2)]) for points in (a, b)]
    return sum(own) - 2 * mean([kernel(u, v) for u, v in itertools.product(a, b)])


@pytest.mark.parametrize(("n", "m", "size"), [(5, 7, 3), (6, 6, 1), (1, 4, 2), (1, 1, 2)])
def test_mmd_is_that_of_two_loops(n: int, m: int, size: int) -> None:
    a, b = torch.randn(n, size, dtype=torch.float64), 1 + torch.randn(m, size, dtype=torch.float64)
    assert mmd_squared(a, b, SCALES).item() == pytest.approx(naive_mmd(a, b, SCALES), rel=1e-9, abs=1e-12)


def test_mmd_averages_to_zero_over_small_sets_of_one_distribution() -> None:
    values = torch.stack([mmd_squared(torch.randn(6, 2), torch.randn(6, 2), SCALES) for _ in range(2000)])
    # With a point paired with itself the mean would be 2 / 6 of (3 - E k), far above.
    assert abs(values.mean()) < 4 * values.std() / 2000**0.5 < 0.05
    assert values.min() < 0, "unbiased, hence sometimes negative"


def test_mmd_has_gradients_where_points_coincide() -> None:
    a = torch.zeros(4, 2, requires_grad=True)
    mmd_squared(a, torch.ones(4, 2), SCALES).backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert (a.grad < 0).all(), "towards the prior's draws"


def test_the_mmd_regularizer_compares_codes_with_as_many_draws_of_the_prior() -> None:
    z, draws = torch.randn(6, 2), torch.randn(6, 2)
    made = part_of("regularizer", "mmd", latent_size=2)
    r = made(latents(Dirac(z), Dirac(draws[0]), z))
    assert r.item() == pytest.approx(naive_mmd(z, draws[:1].repeat(6, 1), list(made.scales)), rel=1e-4)


def test_the_critics_losses_are_cross_entropies() -> None:
    made = part_of("regularizer", "adversarial", latent_size=2)
    z, draw = torch.randn(6, 2), torch.randn(2)
    given = latents(Dirac(z), Dirac(draw), z)
    of_codes, of_draws = made.critic(z), made.critic(draw.repeat(6, 1))
    fooled = binary_cross_entropy_with_logits(of_codes, torch.ones(6, 1))
    told_apart = binary_cross_entropy_with_logits(of_draws, torch.ones(6, 1)) + binary_cross_entropy_with_logits(
        of_codes, torch.zeros(6, 1)
    )
    torch.testing.assert_close(made(given), fooled)
    torch.testing.assert_close(made.critic_loss(given), told_apart)


def test_a_critic_at_a_loss_gives_log_2_for_each_verdict() -> None:
    made = part_of("regularizer", "adversarial", latent_size=2)
    nn.init.zeros_(made.critic[-1].weight)
    nn.init.zeros_(made.critic[-1].bias)
    z = torch.randn(6, 2)
    given = latents(Dirac(z), part_of("prior", "normal", latent_size=2, shape=SHAPE)(None), z)
    assert made(given).item() == pytest.approx(math.log(2))
    assert made.critic_loss(given).item() == pytest.approx(2 * math.log(2))


def test_a_critic_with_nothing_to_tell_apart_stays_at_a_loss() -> None:
    made = part_of("regularizer", "adversarial", latent_size=2)
    p = part_of("prior", "normal", latent_size=2, shape=SHAPE)(None)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        made.critic_loss(latents(p, p, p.sample((256,)))).backward()
        optimizer.step()
    # A tenth of a nat: what 256 draws a step let a critic believe.
    assert made(latents(p, p, p.sample((2000,)))).item() == pytest.approx(math.log(2), abs=0.1)
