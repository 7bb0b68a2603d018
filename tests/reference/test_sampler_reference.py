"""Samplers draw from what they say: against scipy's kernel density estimate, known densities and known entropies."""

import functools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

from latentbench.contracts.options import options, part_of
from latentbench.errors import UserError
from latentbench.samplers.trained import TrainedSampler
from latentbench.samplers.two_stage import SecondVAE

TRAINED = [option for option in options("sampler") if isinstance(part_of("sampler", option), TrainedSampler)]
WIDTH = 0.1  # of the ring
BRIEF: dict[str, dict[str, Any]] = {
    "flow": {"steps": 200, "hidden": [32, 32]},
    "two_stage": {"steps": 600},
}
SMALL_BATCHES: dict[str, dict[str, Any]] = {"flow": {"batch_size": 50}}


def fitted(option: str, latents: Tensor, **settings: Any) -> Any:
    made = part_of("sampler", option, **settings)
    prior: Distribution = Normal(0.0, 1.0)  # which no fitted sampler looks at
    made.fit(prior=prior, latents=latents, seed=0)
    return made


def ring(n: int) -> Tensor:
    """Points of a plane whose distance to the origin is N(1, WIDTH^2) and whose angle is uniform."""
    angle, radius = 2 * math.pi * torch.rand(n), 1 + WIDTH * torch.randn(n)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def ring_log_prob(z: Tensor) -> Tensor:
    radius = z.norm(dim=1)
    return Normal(1.0, WIDTH).log_prob(radius) - (2 * math.pi * radius).log()


def two_heaps(n: int) -> Tensor:
    return 0.3 * torch.randn(n, 2) + torch.tensor([[-2.0, -1.0], [2.0, 1.0]])[torch.randint(2, (n,))]


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'|, which is 0 for equal distributions alone."""
    within = torch.pdist(a).mean() + torch.pdist(b).mean()
    return (2 * torch.cdist(a, b).mean() - within).item()


def assert_same_distribution(a: Tensor, b: Tensor) -> None:
    """Their projections on twenty lines do not differ by more than happens by chance once in ten thousand tests."""
    for direction in torch.randn(20, a.shape[1], dtype=a.dtype):
        assert scipy.stats.ks_2samp(a @ direction, b @ direction).pvalue > 1e-4


# The box


def test_a_box_is_as_large_as_the_latents_reach() -> None:
    latents = torch.randn(500, 3) * torch.tensor([1.0, 1e-3, 1e3]) + torch.tensor([0.0, 5.0, -1e4])
    draws = fitted("box", latents).draw(20_000)
    assert (draws >= latents.amin(0)).all()
    assert (draws <= latents.amax(0)).all()
    missed = (draws.amin(0) - latents.amin(0) + latents.amax(0) - draws.amax(0)) / (latents.amax(0) - latents.amin(0))
    assert (missed < 20 / 20_000).all()  # two ends, each missed by 1 / 20,000 in the mean


def test_a_box_is_filled_evenly_whatever_the_latents_density_and_correlation() -> None:
    latents = torch.randn(500, 1).exp() * torch.tensor([1.0, -2.0]) + 0.01 * torch.randn(500, 2)
    draws = fitted("box", latents).draw(20_000)
    place = (draws - latents.amin(0)) / (latents.amax(0) - latents.amin(0))
    for along in place.T:
        assert scipy.stats.kstest(along, "uniform").pvalue > 1e-3
    assert torch.corrcoef(place.T)[0, 1].abs() < 5 / 20_000**0.5


# The kernel density estimate


@pytest.mark.parametrize("bandwidth", ["scott", "silverman", 0.3])
@pytest.mark.parametrize("size", [1, 4])
def test_a_kernel_density_estimate_is_scipys(size: int, bandwidth: str | float) -> None:
    latents = torch.randn(300, size, dtype=torch.float64).exp() @ torch.randn(size, size, dtype=torch.float64)
    theirs = scipy.stats.gaussian_kde(latents.numpy().T, bw_method=bandwidth)
    ours = fitted("kde", latents, bandwidth=bandwidth)
    np.testing.assert_allclose(ours.root @ ours.root.T, theirs.covariance, rtol=1e-9, atol=1e-12)
    draws = ours.draw(5000)
    drawn_by_scipy = torch.from_numpy(theirs.resample(5000, seed=0).T)
    assert_same_distribution(draws, drawn_by_scipy)
    of_ours, of_theirs = theirs.logpdf(draws.numpy().T), theirs.logpdf(drawn_by_scipy.numpy().T)
    assert scipy.stats.ks_2samp(of_ours, of_theirs).pvalue > 1e-3


def test_a_kernel_density_estimate_of_latents_in_a_plane_is_that_of_the_plane() -> None:
    flat, frame = torch.randn(300, 2, dtype=torch.float64).exp(), torch.randn(2, 5, dtype=torch.float64)
    draws = fitted("kde", flat @ frame).draw(5000)
    within = draws @ torch.linalg.pinv(frame)
    torch.testing.assert_close(within @ frame, draws)
    theirs = scipy.stats.gaussian_kde(flat.numpy().T)
    assert_same_distribution(within, torch.from_numpy(theirs.resample(5000, seed=0).T))


# The mixture


def test_a_mixture_is_fitted_by_the_seed_it_is_given() -> None:
    known, means = ring(300), []
    for seed in (0, 0, 1):
        sampler = part_of("sampler", "gmm")
        sampler.fit(prior=Normal(0.0, 1.0), latents=known, seed=seed)
        means.append(sampler.means)
    assert torch.equal(means[0], means[1])
    assert not torch.allclose(means[0], means[2])


# What is trained


@torch.no_grad()
def mean_bound(sampler: TrainedSampler, z: Tensor, draws: int = 20) -> float:
    """Mean of -log p(z), or of its bound, nats."""
    assert sampler.p is not None
    w = torch.linalg.solve(sampler.root, (z.double() - sampler.mean).T).T.float()
    of_w = torch.stack([sampler.p(w).mean() for _ in range(draws)]).mean()
    return of_w.item() + sampler.root.slogdet().logabsdet.item()


def gaussian_bound(latents: Tensor, z: Tensor) -> float:
    fit = scipy.stats.multivariate_normal(latents.double().mean(0).numpy(), torch.cov(latents.double().T).numpy())
    return -float(fit.logpdf(z.numpy()).mean())


@functools.cache
def on_a_ring(option: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)  # points of its own, whichever test asks first
        return fitted(option, ring(3000), **BRIEF[option])


def test_a_flow_on_a_ring_nears_its_entropy() -> None:
    sampler, fresh = on_a_ring("flow"), ring(3000)
    entropy = -ring_log_prob(fresh).mean().item()
    assert gaussian_bound(fresh, fresh) > entropy + 1
    assert mean_bound(sampler, fresh, draws=1) == pytest.approx(entropy, abs=0.15)


@pytest.mark.parametrize("latents", [ring, two_heaps])
@pytest.mark.parametrize("option", ["flow", "two_stage"])
def test_what_is_trained_draws_what_a_gaussian_cannot(option: str, latents: Any) -> None:
    known, fresh = latents(3000), latents(3000)
    sampler = on_a_ring(option) if latents is ring else fitted(option, known, **BRIEF[option])
    draws, of_gaussian = sampler.draw(3000), fitted("gaussian", known).draw(3000)
    assert energy_distance(draws, fresh) < 0.25 * energy_distance(of_gaussian, fresh)


@pytest.mark.parametrize("option", TRAINED)
def test_what_is_trained_bounds_the_likelihood_of_its_draws_better_than_a_gaussian(option: str) -> None:
    sampler = on_a_ring(option)
    fresh = ring(3000)
    entropy = -ring_log_prob(fresh).mean().item()
    assert entropy - 0.02 < mean_bound(sampler, fresh) < gaussian_bound(fresh, fresh) - 0.3


@pytest.mark.parametrize("option", TRAINED)
def test_latents_too_few_to_learn_from_leave_the_gaussian_fitted_to_them(option: str) -> None:
    mix = torch.randn(20, 20)
    known, fresh = torch.randn(100, 20) @ mix, torch.randn(2000, 20) @ mix
    sampler = fitted(option, known, steps=200, **SMALL_BATCHES.get(option, {}))
    # Trained on to the end it would be tens of nats worse; an untrained flow is no more than near N(0, I).
    assert mean_bound(sampler, fresh, draws=3) < gaussian_bound(known, fresh) + 0.5


@pytest.mark.parametrize("option", TRAINED)
def test_training_goes_by_the_seed_it_is_given(option: str) -> None:
    known = ring(300)
    weights = []
    for seed in (0, 0, 1):
        sampler = part_of("sampler", option, steps=5)
        state = torch.get_rng_state()
        sampler.fit(prior=Normal(0.0, 1.0), latents=known, seed=seed)
        assert torch.equal(torch.get_rng_state(), state), "what is drawn elsewhere stays as it was"
        weights.append(torch.cat([weight.flatten() for weight in sampler.p.parameters()]))
        torch.randn(3)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("option", TRAINED)
def test_the_learning_rate_of_what_is_trained_falls_as_half_a_cosine(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    class Adam(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    fitted(option, ring(50), steps=20, learning_rate=0.01, batch_size=10)
    assert rates == pytest.approx([0.01 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)])


# The second stage


def second_vae(size: int = 3) -> SecondVAE:
    return SecondVAE(torch.linspace(0.1, 2, size), hidden=[8, 8])


@torch.no_grad()
def test_a_second_stage_begins_as_a_standard_normal_whose_bound_is_tight() -> None:
    p, w = second_vae(), 2 * torch.randn(5, 3)
    bounds = p(w.repeat(20_000, 1)).unflatten(0, (-1, 5))
    known = -Normal(0.0, 1.0).log_prob(w).sum(1)
    error = bounds.std(0) / 20_000**0.5
    assert ((bounds.mean(0) - known).abs() < 5 * error).all()
    draws = p.draw(50_000)
    assert (draws.mean(0).abs() < 0.03).all()
    assert ((torch.cov(draws.T) - torch.eye(3)).abs() < 0.03).all()


def shaken_vae(size: int) -> SecondVAE:
    p = second_vae(size)
    with torch.no_grad():
        for weight in p.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return p


@torch.no_grad()
def test_the_loss_of_a_second_stage_is_its_evidence_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    p, w, noise = shaken_vae(3), torch.randn(7, 3), torch.randn(7, 3)
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    mean, log_sigma = p.encoder(w).chunk(2, 1)
    q = Normal(mean, log_sigma.exp())
    gamma, spread = p.log_gamma.exp(), torch.linspace(0.1, 2, 3)
    r = gamma / (gamma**2 + spread**2).sqrt()
    known = kl_divergence(q, Normal(0.0, 1.0)) - Normal(p.decoder(mean + q.stddev * noise), r).log_prob(w)
    torch.testing.assert_close(p(w), known.sum(1))


@torch.no_grad()
def test_the_loss_of_a_second_stage_is_above_minus_the_log_likelihood_of_its_draws() -> None:
    p = shaken_vae(1)
    u = torch.linspace(-8, 8, 4001)[:, None]
    w = torch.linspace(-6, 6, 601)[:, None]
    log_joint = Normal(0.0, 1.0).log_prob(u) + Normal(p.decoder(u), p.log_noise().exp()).log_prob(w.T)
    density = torch.trapezoid(log_joint.exp(), u, dim=0)  # p(w), by quadrature
    mass = torch.cumulative_trapezoid(density, w[:, 0])
    assert mass[-1] == pytest.approx(1, abs=1e-3)
    bound = p(w.repeat(500, 1)).unflatten(0, (500, -1)).mean(0)
    assert (bound > -density.log() - 0.05).all()
    draws = p.draw(5000)[:, 0]
    assert scipy.stats.kstest(np.interp(draws, w[1:, 0], mass), "uniform").pvalue > 1e-3


# Settings

WRONG = [
    ("gmm", "components", 0),
    ("kde", "bandwidth", 0),
    ("kde", "bandwidth", "wide"),
    ("kde", "bandwidth", True),
    ("flow", "transform", "cubic"),
    ("flow", "transforms", 0),
    ("flow", "hidden", []),
    ("two_stage", "hidden", [64, 0]),
    *((option, "steps", 0) for option in TRAINED),
    *((option, "batch_size", 2.5) for option in TRAINED),
    *((option, "learning_rate", 0) for option in TRAINED),
    *((option, "held_out", 1) for option in TRAINED),
]


@pytest.mark.parametrize(("option", "setting", "value"), WRONG)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(option: str, setting: str, value: Any) -> None:
    with pytest.raises(UserError) as raised:
        part_of("sampler", option, **{setting: value})
    assert str(raised.value).startswith(f"sampler.{option}.{setting}={value}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("option", "most"), [("gmm", 1024), ("flow", 1024), ("gaussian", 6000), ("kde", 6000), ("two_stage", 6000)]
)
def test_a_span_of_too_many_dimensions_is_refused(option: str, most: int) -> None:
    sampler = part_of("sampler", option)
    assert sampler.refuses(torch.empty(most, 50_000)) is None
    assert sampler.refuses(torch.empty(50_000, most)) is None
    assert sampler.refuses(torch.empty(50_000, most + 1)) == (
        f"latents of {most + 1:,} dimensions would take this sampler too much time or memory: "
        f"it is for at most {most:,}"
    )


def test_too_few_latents_are_refused() -> None:
    gmm = part_of("sampler", "gmm")
    assert gmm.refuses(torch.empty(9, 2)) == "this sampler needs at least 10 latents, and there are 9"
    assert gmm.refuses(torch.empty(10, 2)) is None
