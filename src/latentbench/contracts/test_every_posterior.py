"""A posterior is a distribution over latents for each image, and what it draws carries gradients."""

import itertools

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from latentbench.contracts.grids import assert_drawn_from, grid, ranks, waves
from latentbench.contracts.options import options, part_of, shaken
from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, CODES, REAL, SPHERE
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.kullback_leibler import has_closed_form

SIZES = [1, 2, 64, 512]
N = 20_000
REACH = {1: 25.0, 2: 15.0}  # of grids over R^n, by n


def made(option: str, latent_size: int, coordinates: int | None = None) -> Posterior:
    """A posterior with its first weights, for a prior with so many coordinates (in R^n; latent_size)."""
    size = coordinates or latent_size
    posterior: Posterior = part_of("posterior", option, latent_size=latent_size, coordinates=size)
    return posterior


POSTERIORS = {option: made(option, 2) for option in options("posterior")}
WITH_DENSITY = [option for option, posterior in POSTERIORS.items() if posterior.has_density]
OF_VOLUMES = [option for option in WITH_DENSITY if POSTERIORS[option].space is not CODES]
WITHOUT_DENSITY = [option for option in POSTERIORS if option not in WITH_DENSITY]
# On grids: where coordinates are independent a line says it all.
LINES_AND_PLANES = [
    (option, size) for option in WITH_DENSITY for size in (1, 2) if size == 1 or not POSTERIORS[option].is_factorised
]


def precise(option: str, latent_size: int, images: int = 2) -> tuple[Posterior, Tensor]:
    """A posterior in double precision, away from its first weights, and what an encoder could give it."""
    posterior = shaken(made(option, latent_size).double())
    raw = 0.4 * torch.randn(images, posterior.inputs, dtype=torch.float64)
    # In a box, densities that no wall makes infinite: sums over grids are not for those.
    return posterior, raw.abs() + 0.5 if posterior.space is BOX else raw


def masses(posterior: Posterior, q: Distribution, reach: dict[int, float] = REACH) -> tuple[Tensor, Tensor]:
    """Points (M, D) all over the posterior's space and the probability of each, for every image, (B, M)."""
    size = posterior.latent_size
    points, volumes = grid(posterior.space, size, classes=posterior.classes, reach=reach[size])
    return points, (q.log_prob(points[:, None]).exp() * volumes[:, None]).T


def priors_for(posterior: Posterior) -> list[Prior]:
    """The priors whose draws are latents of this posterior's."""
    size = posterior.latent_size
    priors = [part_of("prior", option, latent_size=size, shape=(1, 2, 2)) for option in options("prior")]
    fitting = [prior for prior in priors if prior.space is posterior.space and prior.classes == posterior.classes]
    assert fitting
    return fitting


def assert_lies_in_its_space(posterior: Posterior, z: Tensor) -> None:
    """z (..., D), in single precision."""
    assert z.isfinite().all()
    if posterior.space is SPHERE:
        torch.testing.assert_close(z.norm(dim=-1), torch.ones(z.shape[:-1]))
    elif posterior.space is BOX:
        assert (z.abs() < BOX_HALF_WIDTH).all(), "off the walls, where a density may be infinite"
    elif posterior.space is CODES:
        codebook = getattr(posterior, "codebook", None)
        words = torch.eye(posterior.classes)[None] if codebook is None else codebook
        groups = z.unflatten(-1, (posterior.latent_size, -1))
        assert (groups[..., None, :] == words).all(-1).any(-1).all(), "a word of the alphabet, to the last digit"


def assert_draws_are_as_declared(posterior: Posterior, z: Tensor) -> None:
    """z (..., D), draws with gradients, in single precision."""
    if not posterior.has_relaxed_draws:
        return assert_lies_in_its_space(posterior, z)
    shares = z.unflatten(-1, (posterior.latent_size, posterior.classes))
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:-1]))


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("latent_size", SIZES[:3])
@pytest.mark.parametrize("option", options("posterior"))
def test_it_has_one_distribution_per_image_in_the_coordinates_that_it_says(
    option: str, latent_size: int, more: int
) -> None:
    posterior = made(option, latent_size, latent_size + more)
    size = posterior.coordinates
    if posterior.space is REAL:
        assert size == latent_size + more, "those of the prior"
    for batch in (1, 7):
        q = posterior(torch.randn(batch, posterior.inputs))
        assert q.batch_shape == (batch,)
        assert q.event_shape == (size,)
        assert q.rsample().shape == posterior.point_estimate(q).shape == (batch, size)
        assert q.rsample((4,)).shape == q.sample((4,)).shape == (4, batch, size)
        if posterior.has_moments:
            assert q.mean.shape == q.variance.shape == (batch, size)


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("posterior"))
def test_its_draws_its_point_and_the_prior_as_it_places_it_lie_in_its_space(option: str, latent_size: int) -> None:
    posterior = made(option, latent_size)
    q = posterior(torch.randn(7, posterior.inputs))
    for z in (q.sample((5,)), posterior.point_estimate(q)):
        assert_lies_in_its_space(posterior, z)
    assert_draws_are_as_declared(posterior, q.rsample((5,)))
    for prior in priors_for(posterior):
        p = posterior.adapt_prior(prior(None))
        assert p.event_shape == (posterior.coordinates,)
        assert_lies_in_its_space(posterior, p.sample((5,)))


@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("posterior"))
def test_gradients_reach_every_weight_and_all_that_the_encoder_gives(option: str, latent_size: int) -> None:
    posterior = made(option, latent_size)
    raw = torch.randn(7, posterior.inputs, requires_grad=True)
    q = posterior(raw)
    # Not of squares alone: those of a point on a sphere, or of a one-hot vector, add up to a constant.
    z = q.rsample()
    loss = (z * torch.randn_like(z)).sum() + z.square().sum()
    (slopes,) = torch.autograd.grad(loss, raw, retain_graph=True)
    assert slopes.any(0).all(), "no number of the encoder's is for nothing"
    auxiliary_loss = posterior.auxiliary_loss(q)
    (loss if auxiliary_loss is None else loss + auxiliary_loss).backward()
    for name, tensor in [("raw", raw), *posterior.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name
    assert q.sample().grad_fn is None, "draws that are not for training carry none"


@pytest.mark.parametrize("option", options("posterior"))
def test_its_own_loss_is_a_mean_over_images(option: str) -> None:
    posterior, raw = precise(option, 3)
    losses = [posterior.auxiliary_loss(posterior(some)) for some in (raw, raw.repeat(2, 1), raw[:1], raw[1:])]
    assert losses == [None] * 4 or None not in losses
    if None not in losses:
        of_both, repeated, *alone = losses
        assert of_both.shape == ()
        torch.testing.assert_close(repeated, of_both)
        torch.testing.assert_close(torch.stack(alone).mean(), of_both)


@pytest.mark.parametrize("option", options("posterior"))
def test_an_image_has_the_same_distribution_whatever_is_beside_it(option: str) -> None:
    posterior, raw = precise(option, 3, images=5)
    together, alone = posterior(raw), posterior(raw[2:3])
    torch.testing.assert_close(posterior.point_estimate(together)[2:3], posterior.point_estimate(alone))
    if posterior.has_density:
        z = alone.sample((4,))
        torch.testing.assert_close(together.log_prob(z)[:, 2:3], alone.log_prob(z))


@pytest.mark.parametrize(("option", "latent_size"), LINES_AND_PLANES)
def test_its_density_sums_to_one_over_its_space_and_its_draws_follow_it(option: str, latent_size: int) -> None:
    posterior, raw = precise(option, latent_size)
    q = posterior(raw)
    points, mass = masses(posterior, q)
    # Heavy tails reach beyond the grid, and cells have a density's kink in them: 1e-3 of either at most.
    torch.testing.assert_close(mass.sum(1), torch.ones_like(mass[:, 0]), rtol=0, atol=2e-3)
    ways = (q.sample, q.sample if posterior.has_relaxed_draws else q.rsample)
    for image, draws in enumerate(draw((N,)).detach() for draw in ways):
        assert_drawn_from(draws[:, image], points, mass[image])
        if latent_size == 1 and option in OF_VOLUMES:
            found = ranks(draws[:, image], points, mass[image])
            # Such a distance happens by chance once in a thousand seeds, and the seed is fixed.
            assert scipy.stats.kstest(found.numpy(), "uniform").pvalue > 1e-3


# Of codes the gradients are those of a relaxation, biased on purpose: there is nothing to compare them with.
@pytest.mark.parametrize(("option", "latent_size"), [case for case in LINES_AND_PLANES if case[0] in OF_VOLUMES])
def test_gradients_through_its_draws_are_those_of_an_expectation(option: str, latent_size: int) -> None:
    posterior, raw = precise(option, latent_size, images=1)
    raw.requires_grad_()
    points, mass = masses(posterior, posterior(raw))
    of = waves(posterior.coordinates, 2)
    each = raw.detach().expand(N, -1).clone().requires_grad_()  # a leaf for every draw, to see the gradients scatter
    draws = posterior(each).rsample()
    for expected, drawn in zip((mass[0] @ of(points)).unbind(), of(draws).unbind(1), strict=True):
        (wanted,) = torch.autograd.grad(expected, raw, retain_graph=True)
        (found,) = torch.autograd.grad(drawn.sum(), each, retain_graph=True)
        # Five standard errors, and what a grid's tails and kinks are off by.
        assert ((found.mean(0) - wanted[0]).abs() <= 5 * found.std(0) / N**0.5 + 2e-3).all()


@pytest.mark.parametrize(
    ("option", "latent_size"), [case for case in LINES_AND_PLANES if POSTERIORS[case[0]].has_moments]
)
def test_its_mean_and_variance_are_those_of_its_density(option: str, latent_size: int) -> None:
    posterior, raw = precise(option, latent_size)
    q = posterior(raw)
    points, mass = masses(posterior, q, reach={1: 200.0, 2: 25.0})
    mean, squares = mass @ points, mass @ points.square()
    # Heavy tails: of Student's t with 5 degrees of freedom 0.002 of the variance lie beyond 25 scales.
    torch.testing.assert_close(q.mean, mean, rtol=0, atol=1e-3)
    torch.testing.assert_close(q.variance, squares - mean.square(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("latent_size", SIZES)
@pytest.mark.parametrize("option", options("posterior"))
def test_it_is_finite_however_large_the_encoders_numbers(option: str, latent_size: int, scale: float) -> None:
    posterior = made(option, latent_size)
    raw = (scale * torch.randn(5, posterior.inputs)).requires_grad_()
    q = posterior(raw)
    z = q.rsample((2,))
    loss = z.square().mean()
    if posterior.has_density:
        log_prob = q.log_prob(z)
        assert log_prob.shape == (2, 5)
        assert log_prob.isfinite().all()
        loss = loss + log_prob.mean()
    auxiliary_loss = posterior.auxiliary_loss(q)
    loss = loss if auxiliary_loss is None else loss + auxiliary_loss
    loss.backward()
    assert_draws_are_as_declared(posterior, z)
    assert posterior.point_estimate(q).isfinite().all()
    for name, tensor in [("loss", loss), ("raw", raw.grad), *((k, v.grad) for k, v in posterior.named_parameters())]:
        assert tensor is not None, name
        assert tensor.isfinite().all(), name


@pytest.mark.parametrize("option", WITH_DENSITY)
def test_a_draw_has_the_density_of_the_point_where_it_lies(option: str) -> None:
    posterior, raw = precise(option, 3)
    raw.requires_grad_()
    q = posterior(raw)
    for draw, shape in itertools.product((q.rsample, q.sample), ((), (4,))):
        draws = draw(shape)
        # A distribution may know its last draw and how it was made; of a copy it cannot.
        for known, computed in ((draws, draws.clone()), (draws.detach(), draws.detach().clone())):
            of_draw, of_point = q.log_prob(known), q.log_prob(computed)
            torch.testing.assert_close(of_draw, of_point)
            slopes = [torch.autograd.grad(one.sum(), raw, retain_graph=True)[0] for one in (of_draw, of_point)]
            torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("option", WITHOUT_DENSITY)
def test_a_density_that_it_has_not_cannot_be_asked_for(option: str) -> None:
    posterior = made(option, 2)
    q = posterior(torch.randn(7, posterior.inputs))
    with pytest.raises(NotImplementedError):
        q.log_prob(q.sample())


@pytest.mark.parametrize("latent_size", [1, 3])
@pytest.mark.parametrize("option", options("posterior"))
def test_its_coordinates_have_densities_of_their_own_if_it_says_that_they_are_independent(
    option: str, latent_size: int
) -> None:
    posterior, raw = precise(option, latent_size)
    q = posterior(raw)
    assert hasattr(q, "factor_log_prob") == hasattr(q, "factor_kl") == posterior.is_factorised
    if not posterior.is_factorised:
        return
    z = q.sample((4,))
    assert q.factor_log_prob(z).shape == (4, len(raw), latent_size)
    torch.testing.assert_close(q.factor_log_prob(z).sum(-1), q.log_prob(z))
    for prior in priors_for(posterior):
        p = prior.double()(None)
        if prior.is_factorised and has_closed_form(q, p):
            assert q.factor_kl(p).shape == (len(raw), latent_size)
            torch.testing.assert_close(q.factor_kl(p).sum(-1), kl_divergence(q, p))
