"""A prior is a normalised density, and its draws follow it."""

from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.contracts.grids import assert_drawn_from, grid, ranks, waves
from latentbench.contracts.options import encoder, options, part_of, plain, shaken
from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, CODES, REAL, SPHERE, Space, slerp_midpoint
from latentbench.errors import Refused
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents

SHAPE = (1, 2, 2)
SIZES = [1, 2, 64, 512]
N = 20_000
REACH = {1: 25.0, 2: 15.0}  # of grids over R^n, by n


def made(option: str, latent_size: int) -> Prior:
    """A prior of few components, where it has any: each costs a grid of its own."""
    few = {"components": 3} if "components" in plain("prior", option) else {}
    prior: Prior = part_of("prior", option, latent_size=latent_size, shape=SHAPE, **few)
    return prior


PRIORS = {option: made(option, 2) for option in options("prior")}
DENSE = [
    option for option in options("posterior") if part_of("posterior", option, latent_size=2, coordinates=2).has_density
]
# Each prior, and each that is made of an encoder's posteriors with every posterior that it can be made of.
CASES = [(option, dense) for option in PRIORS for dense in (DENSE if PRIORS[option].space is None else DENSE[:1])]
FACTORISED = [option for option in PRIORS if PRIORS[option].is_factorised]
# On grids: where coordinates are independent a line says it all.
LINES_AND_PLANES = [(*case, size) for case in CASES for size in (1, 2) if size == 1 or case[0] not in FACTORISED]


class Case:
    """p(z) of a prior away from its first weights, with all that is to be known about it."""

    def __init__(self, option: str, posterior: str, latent_size: int, dtype: torch.dtype = torch.float32) -> None:
        self.prior = shaken(made(option, latent_size), by=0.25).to(dtype)
        self.posterior = part_of("posterior", posterior, latent_size=latent_size, coordinates=latent_size).to(dtype)
        self.encode = encoder(self.posterior).to(dtype)
        with torch.no_grad():
            # Scales near 1, which fit into a grid, and in a box densities that no wall makes infinite.
            self.encode[1].weight.mul_(0.6)
            self.encode[1].bias.fill_(1.0 if self.posterior.space is BOX else 0.0)
        self.latent_size = latent_size
        self.space: Space = self.prior.space or self.posterior.space
        self.coordinates = self.prior.coordinates if self.prior.space else self.posterior.coordinates
        self.classes = self.prior.classes or self.posterior.classes

    def p(self) -> Distribution:
        p: Distribution = self.prior(self.encode)
        return p

    def masses(self, reach: dict[int, float] = REACH) -> tuple[Tensor, Tensor]:
        """Points (M, D) all over the space and the probability of each, (M,)."""
        points, volumes = grid(self.space, self.latent_size, classes=self.classes, reach=reach[self.latent_size])
        return points, self.p().log_prob(points).exp() * volumes


def precise(option: str, posterior: str, latent_size: int) -> Case:
    return Case(option, posterior, latent_size, torch.float64)


@pytest.mark.parametrize(("option", "posterior", "latent_size"), LINES_AND_PLANES)
def test_its_density_sums_to_one_over_its_space_and_its_draws_follow_it(
    option: str, posterior: str, latent_size: int
) -> None:
    case = precise(option, posterior, latent_size)
    points, mass = case.masses()
    # Heavy tails reach beyond the grid, and cells have a density's kink in them: 1e-3 of either at most.
    assert mass.sum().item() == pytest.approx(1, abs=2e-3)
    draws = case.p().sample((N,))
    assert_drawn_from(draws, points, mass)
    if latent_size == 1 and case.space is not CODES:
        found = ranks(draws, points, mass)
        # Such a distance happens by chance once in a thousand seeds, and the seed is fixed.
        assert scipy.stats.kstest(found.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize(("option", "posterior"), CASES)
def test_its_draws_are_finite_latents_of_its_space_without_gradients(
    option: str, posterior: str, latent_size: int
) -> None:
    case = Case(option, posterior, latent_size)
    p = case.p()
    assert p.batch_shape == ()
    assert p.event_shape == p.sample().shape == (case.coordinates,)
    draws = p.sample((50,))
    assert draws.shape == (50, case.coordinates)
    assert draws.isfinite().all()
    assert draws.grad_fn is None
    assert len(draws.unique(dim=0)) > 1
    if case.space is SPHERE:
        torch.testing.assert_close(draws.norm(dim=1), torch.ones(50))
    elif case.space is BOX:
        assert (draws.abs() <= BOX_HALF_WIDTH).all()
    elif case.space is CODES:
        words = draws.unflatten(1, (latent_size, case.classes))
        assert ((words == 0) | (words == 1)).all()
        assert (words.sum(-1) == 1).all()
    assert p.log_prob(draws).shape == (50,)
    assert p.log_prob(draws).isfinite().all()


def assert_reached(case: Case, of: Tensor) -> None:
    """Finite gradients, not all of them 0, at every weight of the prior."""
    of.backward()
    for name, weight in case.prior.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize(("option", "posterior"), [case for case in CASES if PRIORS[case[0]].is_learned])
def test_its_density_has_gradients_to_every_weight_it_learns(option: str, posterior: str, latent_size: int) -> None:
    case = Case(option, posterior, latent_size)
    assert_reached(case, case.p().log_prob(case.p().sample((50,))).sum())


REPARAMETERISED = [option for option in PRIORS if PRIORS[option].has_rsample]


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", REPARAMETERISED)
def test_its_draws_have_gradients_to_every_weight_if_it_says_so(option: str, latent_size: int) -> None:
    case = Case(option, DENSE[0], latent_size)
    draws = case.p().rsample((50,))
    assert_reached(case, (draws * torch.randn_like(draws)).sum() + draws.square().sum())


@pytest.mark.parametrize("latent_size", [1, 2])
@pytest.mark.parametrize("option", REPARAMETERISED)
def test_gradients_through_its_draws_are_those_of_an_expectation(option: str, latent_size: int) -> None:
    case = precise(option, DENSE[0], latent_size)
    weights = list(case.prior.parameters())
    of, direction = waves(case.coordinates, 1), [torch.randn_like(weight) for weight in weights]

    def slope(expected: Tensor) -> Any:
        """How fast it grows as the weights move in a direction."""
        gradients = torch.autograd.grad(expected, weights)
        return sum((one * other).sum() for one, other in zip(gradients, direction, strict=True))

    points, mass = case.masses()
    wanted = slope(mass @ of(points)[:, 0])
    found = torch.stack([slope(of(case.p().rsample((500,))).mean()) for _ in range(40)])
    # Five standard errors of 40 batches, and what a grid is off by.
    assert (found.mean() - wanted).abs() <= 5 * found.std() / 40**0.5 + 2e-3


@pytest.mark.parametrize("latent_size", [1, 3])
@pytest.mark.parametrize("option", options("prior"))
def test_its_coordinates_have_densities_of_their_own_if_it_says_that_they_are_independent(
    option: str, latent_size: int
) -> None:
    p = precise(option, DENSE[0], latent_size).p()
    assert hasattr(p, "factor_log_prob") == hasattr(p, "factor_kl") == (option in FACTORISED)
    if option in FACTORISED:
        z = p.sample((4,))
        assert p.factor_log_prob(z).shape == (4, latent_size)
        torch.testing.assert_close(p.factor_log_prob(z).sum(-1), p.log_prob(z))


@pytest.mark.parametrize("option", [option for option in FACTORISED if PRIORS[option].space in (REAL, BOX)])
def test_independent_coordinates_have_mean_0_and_variance_1(option: str) -> None:
    points, mass = precise(option, DENSE[0], 1).masses(reach={1: 200.0})
    # Beyond 200 there are 2e-6 of the variance of Student's t with 5 degrees of freedom.
    assert (mass @ points).item() == pytest.approx(0, abs=1e-6)
    assert (mass @ points.square()).item() == pytest.approx(1, abs=1e-4)


def test_a_prior_that_is_made_of_posteriors_says_that_a_model_without_an_encoder_has_none() -> None:
    for option in (option for option in PRIORS if PRIORS[option].space is None):
        with pytest.raises(Refused, match="take prior="):
            made(option, 2)(None)


def spread_of(p: Distribution, z: Tensor) -> float:
    """What a regularizer is told of how far apart two draws of p are."""
    latents = Latents(x=z, z=z, q=p, p=p, decoder=nn.Identity(), decode=nn.Identity(), dataset_size=len(z))
    return float(latents.prior_squared_distance())


@pytest.mark.parametrize("option", [option for option in PRIORS if not PRIORS[option].is_learned])
def test_the_spread_is_the_mean_squared_distance_of_two_draws(option: str) -> None:
    p = made(option, 3)(None)
    a, b = p.sample((2, N))
    squared = (a - b).square().sum(1)
    if option == "student_t":  # whose fourth moments are infinite or nearly: of a Student t of 5 degrees of freedom
        assert spread_of(p, a) == pytest.approx(6)
    else:
        error = (squared.std() / N**0.5).item()
        assert spread_of(p, a) == pytest.approx(squared.mean().item(), abs=5 * error + 1e-5)


def test_the_spread_of_a_codebook_is_that_of_its_vectors() -> None:
    posterior = part_of("posterior", "vector_quantized", latent_size=3, coordinates=0, classes=5)
    p = posterior.adapt_prior(part_of("prior", "categorical", latent_size=3, shape=SHAPE, classes=5)(None))
    a, b = p.sample((2, N))
    assert spread_of(p, a) == pytest.approx((a - b).square().sum(1).mean().item(), rel=0.02)


@pytest.mark.parametrize("regularizer", ["mmd", "sinkhorn", "sliced_wasserstein"])
@pytest.mark.parametrize("option", ["hypersphere", "categorical", "codebook", "normal", "uniform"])
def test_collapsed_codes_are_told_from_draws_wherever_latents_lie(option: str, regularizer: str) -> None:
    if option == "codebook":
        posterior = part_of("posterior", "vector_quantized", latent_size=8, coordinates=0, classes=4)
        p = posterior.adapt_prior(part_of("prior", "categorical", latent_size=8, shape=SHAPE, classes=4)(None))
    else:
        p = part_of("prior", option, latent_size=8, shape=SHAPE)(None)
    z = p.sample((100,))
    collapsed = z[:1].expand(100, -1)
    # Two points at opposite ends: the mean is the prior's, the rest is not.
    halves = torch.cat([z[:50] * 0 + z[:1], z[:50] * 0 + 2 * z.mean(0) - z[:1]])
    made_of = part_of("regularizer", regularizer, latent_size=z.shape[1])

    def r(codes: Tensor) -> float:
        torch.manual_seed(0)
        given = Latents(
            x=z,
            z=codes,
            q=p,
            p=p,
            decoder=nn.Identity(),
            decode=nn.Identity(),
            dataset_size=100,
        )
        value: Tensor = made_of(given)
        return value.item()

    assert r(collapsed) > 5 * abs(r(z))
    assert r(halves) > 3 * abs(r(z))


@pytest.mark.parametrize("option", [option for option in PRIORS if PRIORS[option].space is not CODES])
def test_half_way_between_two_draws_is_where_draws_are(option: str) -> None:
    prior = made(option, 64)
    if prior.space is None:
        start, end = torch.randn(2, 500, 64)
    else:
        start, end = prior(None).sample((2, 500))
    between = prior.midpoint(start, end)
    torch.testing.assert_close(between, prior.midpoint(end, start))
    torch.testing.assert_close(prior.midpoint(start, start), start)
    to_start, to_end = (between - start).norm(dim=1), (between - end).norm(dim=1)
    if option in ("normal", "hypersphere"):
        # On the great circle: as long as the two, where the straight line's are shorter by a factor of sqrt(2).
        torch.testing.assert_close(between.norm(dim=1).mean(), start.norm(dim=1).mean(), rtol=0.02, atol=0)
        assert ((to_start - to_end).abs() < 0.4 * to_start).all()
    else:
        torch.testing.assert_close(between, (start + end) / 2)
    if prior.space is BOX:
        assert between.abs().max() <= BOX_HALF_WIDTH


def test_the_middle_of_an_arc_is_that_of_its_definition() -> None:
    a, b = torch.randn(2, 50, 5).double()
    angle = torch.acos(torch.nn.functional.cosine_similarity(a, b))[:, None]
    known = (angle / 2).sin() / angle.sin() * (a + b)
    torch.testing.assert_close(slerp_midpoint(a, b), known)
    assert slerp_midpoint(a, -a).abs().max() < 1e-6
    assert slerp_midpoint(0 * a, b).isfinite().all()
