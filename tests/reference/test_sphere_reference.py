"""Densities on the sphere against scipy, quadrature along the axis and Monte Carlo."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from latentbench.contracts.options import part_of
from latentbench.distributions.hyperspherical_uniform import HypersphericalUniform
from latentbench.distributions.power_spherical import PowerSpherical
from latentbench.distributions.spaces import slerp, slerp_midpoint
from latentbench.distributions.von_mises_fisher import VonMisesFisher

BOTH = pytest.mark.parametrize("kind", [VonMisesFisher, PowerSpherical])
DIMS = pytest.mark.parametrize("dim", [2, 3, 9, 128])
KAPPAS = [0.01, 1.0, 30.0, 1e4]
SIZES = [2, 3, 5, 9, 17, 33, 129, 513]


class Axis:
    """loc.z on a fine grid of y = atanh(loc.z); both densities are q(loc) exp(kappa statistic(z)), with 0 at loc."""

    def __init__(self, kind: type, dim: int, kappa: float) -> None:
        y, step = np.linspace(-45, 45, 90_001, retstep=True)
        log_cosh = np.logaddexp(y, -y) - math.log(2)
        self.cosine, self.sine = np.tanh(y), np.exp(-log_cosh)
        # tanh y - 1 and log((1 + tanh y) / 2), written so that kappa multiplies no rounding.
        self.statistic = -2 / (1 + np.exp(2 * y)) if kind is VonMisesFisher else -np.logaddexp(0, -2 * y)
        log_density = kappa * self.statistic - (dim - 1) * log_cosh
        total = scipy.special.logsumexp(log_density)
        self.density = np.exp(log_density - total) / step
        self.weights = np.exp(log_density - total)
        area = math.log(2) + (dim - 1) / 2 * math.log(math.pi) - math.lgamma((dim - 1) / 2)  # of S^{m-2}, beside it
        self.log_normalizer = total + math.log(step) + area

    def mean(self, values: np.ndarray) -> float:
        return float(self.weights @ values)

    def covariance(self, a: np.ndarray, b: np.ndarray) -> float:
        return self.mean((a - self.mean(a)) * (b - self.mean(b)))

    def levels(self) -> np.ndarray:
        """The distribution function on the grid, by the trapezoid rule."""
        return np.cumsum(self.weights) - 0.5 * self.weights


def directions(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(*shape, dtype=dtype), dim=-1)


def made(kind: type, dim: int, kappa: float, batch: int = 1, loc: Tensor | None = None) -> Any:
    loc = directions(batch, dim) if loc is None else loc.expand(batch, dim)
    return kind(loc, torch.full((batch,), kappa, dtype=torch.float64))


def uniform(dim: int) -> HypersphericalUniform:
    return HypersphericalUniform(dim, like=torch.zeros((), dtype=torch.float64))


def first_axis(dim: int) -> Tensor:
    return torch.eye(dim, dtype=torch.float64)[0]


@pytest.mark.parametrize("dim", [2, 3, 5, 17, 128])
@pytest.mark.parametrize("kappa", [*KAPPAS, 100.0, 1e5])
def test_the_von_mises_fisher_density_and_entropy_are_scipys(dim: int, kappa: float) -> None:
    q = made(VonMisesFisher, dim, kappa)
    z = torch.cat([q.sample((20,))[:, 0], directions(20, dim)])
    theirs = scipy.stats.vonmises_fisher(q.loc[0].numpy(), kappa)
    assert q.log_prob(z).numpy() == pytest.approx(theirs.logpdf(z.numpy()), rel=1e-11, abs=1e-9)
    assert q.entropy().item() == pytest.approx(theirs.entropy(), abs=1e-9)


@BOTH
@pytest.mark.parametrize("dim", SIZES)
def test_constants_entropies_divergences_and_means_are_those_of_quadrature(kind: type, dim: int) -> None:
    for kappa in [*KAPPAS, 0.0, 1e5]:
        q, axis = made(kind, dim, kappa), Axis(kind, dim, kappa)
        assert q.log_prob(q.mode).item() == pytest.approx(-axis.log_normalizer, abs=2e-9)
        entropy = axis.log_normalizer - kappa * axis.mean(axis.statistic)
        assert q.entropy().item() == pytest.approx(entropy, rel=1e-10, abs=2e-9)
        area = uniform(dim).entropy().item()
        assert kl_divergence(q, uniform(dim)).item() == pytest.approx(area - entropy, abs=2e-9 + 1e-10 * abs(entropy))
        torch.testing.assert_close(q.mean, axis.mean(axis.cosine) * q.loc, rtol=1e-9, atol=1e-10)


@BOTH
@pytest.mark.parametrize("dim", SIZES)
def test_gradients_of_divergences_are_kappa_times_the_variance_of_the_statistic(kind: type, dim: int) -> None:
    kappas = torch.tensor([*KAPPAS, 1e5], dtype=torch.float64, requires_grad=True)
    divergences = kl_divergence(kind(directions(5, dim), kappas), uniform(dim))
    made_gradients = torch.autograd.grad(divergences.sum(), kappas)[0].tolist()
    axes = [Axis(kind, dim, kappa) for kappa in kappas.tolist()]
    known = [k * a.covariance(a.statistic, a.statistic) for k, a in zip(kappas.tolist(), axes, strict=True)]
    assert made_gradients == pytest.approx(known, rel=1e-5, abs=1e-9)
    near = kappas.detach() * torch.tensor([[1 - 1e-4], [1 + 1e-4]], dtype=torch.float64)
    below, above = kl_divergence(kind(directions(2, 5, dim), near), uniform(dim))
    assert ((above - below) / (near[1] - near[0])).tolist() == pytest.approx(known, rel=1e-4, abs=3e-7)


def test_the_densities_integrate_to_one_over_the_circle_and_the_sphere() -> None:
    angles = torch.arange(4000, dtype=torch.float64) * (2 * math.pi / 4000)
    circle = torch.stack([angles.cos(), angles.sin()], -1)
    heights, weights = (torch.from_numpy(numbers) for numbers in np.polynomial.legendre.leggauss(300))
    rings = (1 - heights.square()).sqrt()[:, None, None] * circle[::10]
    sphere = torch.cat([rings, heights[:, None, None].expand(-1, 400, 1)], -1)
    for kappa in [0.01, 1.0, 30.0, 300.0]:
        for q in [made(VonMisesFisher, 2, kappa), made(PowerSpherical, 2, kappa), uniform(2)]:
            # The power spherical has a corner at -loc for small kappa.
            assert q.log_prob(circle).exp().mean().item() * 2 * math.pi == pytest.approx(1, abs=1e-4)
        for q in [made(VonMisesFisher, 3, kappa), made(PowerSpherical, 3, kappa), uniform(3)]:
            by_height = q.log_prob(sphere).exp().mean(1) * 2 * math.pi
            assert (weights @ by_height).item() == pytest.approx(1, abs=1e-4)


@BOTH
@DIMS
def test_log_densities_are_kappa_times_the_statistic(kind: type, dim: int) -> None:
    for kappa in KAPPAS:
        q = made(kind, dim, kappa)
        z = torch.cat([directions(50, dim), q.sample((50,))[:, 0]])
        cosine = (z * q.loc).sum(-1)
        statistic = cosine - 1 if kind is VonMisesFisher else torch.log1p((cosine - 1) / 2)
        torch.testing.assert_close(q.log_prob(z) - q.log_prob(q.loc), kappa * statistic, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(("dim", "area"), [(2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)])
def test_the_uniform_density_is_one_over_the_area(dim: int, area: float) -> None:
    p = uniform(dim)
    z = p.sample((4, 3))
    assert z.shape == (4, 3, dim)
    torch.testing.assert_close(p.log_prob(z), torch.full((4, 3), -math.log(area), dtype=torch.float64))
    assert p.entropy().item() == pytest.approx(math.log(area))
    assert not p.mean.any()


def is_uniform_on_a_sphere(z: np.ndarray) -> bool:
    """Whether coordinates of unit vectors, and a sum of all, have the law they then have; 1 wrong no in 10^4."""
    dim = z.shape[1]
    assert np.abs(np.linalg.norm(z, axis=1) - 1).max() <= 1e-6
    if dim == 1:
        return bool(scipy.stats.binomtest(int((z > 0).sum()), len(z)).pvalue > 1e-4)
    law = scipy.stats.beta((dim - 1) / 2, (dim - 1) / 2, loc=-1, scale=2)
    coordinates = [z[:, 0], z[:, -1], z.sum(1) / math.sqrt(dim)]
    return all(scipy.stats.ks_1samp(coordinate, law.cdf).pvalue > 1e-4 for coordinate in coordinates)


@DIMS
def test_draws_of_the_uniform_are_uniform(dim: int) -> None:
    assert is_uniform_on_a_sphere(uniform(dim).sample((20_000,)).numpy())
    assert is_uniform_on_a_sphere(HypersphericalUniform(dim, like=torch.zeros(())).sample((20_000,)).numpy())


@BOTH
@DIMS
@pytest.mark.parametrize("kappa", KAPPAS)
def test_draws_follow_the_density_along_the_axis_and_are_uniform_around_it(kind: type, dim: int, kappa: float) -> None:
    axis = Axis(kind, dim, kappa)
    for loc in [directions(dim), first_axis(dim), -first_axis(dim)]:
        z = made(kind, dim, kappa, loc=loc).sample((10_000,))[:, 0]
        # 1 - loc.z by the distance: at 1e4 on the circle the cosine has few digits of its own.
        short = 0.5 * (z - loc).square().sum(-1)
        y = 0.5 * ((2 - short).log() - short.log())
        levels = np.interp(y.numpy(), np.linspace(-45, 45, 90_001), axis.levels())
        assert scipy.stats.kstest(levels, "uniform").pvalue > 1e-4
        # An orthonormal basis of what is beside loc.
        beside = z @ torch.linalg.svd(loc[None]).Vh[1:].T
        around = (beside / beside.norm(dim=-1, keepdim=True)).numpy()
        assert is_uniform_on_a_sphere(around)
        assert scipy.stats.spearmanr(around[:, 0], levels).pvalue > 1e-4
        assert dim == 2 or scipy.stats.spearmanr(around[:, 0] ** 2, levels).pvalue > 1e-4


@BOTH
@DIMS
@pytest.mark.parametrize("kappa", KAPPAS)
def test_divergences_are_mean_log_ratios(kind: type, dim: int, kappa: float) -> None:
    q = made(kind, dim, kappa)
    z = q.sample((20_000,))
    ratios = q.log_prob(z) - uniform(dim).log_prob(z)
    error = ratios.std().item() / 20_000**0.5
    assert kl_divergence(q, uniform(dim)).item() == pytest.approx(ratios.mean().item(), abs=4.5 * error)
    assert error < 0.1


# torch's gradient of a Beta is an approximation with a relative error of up to a few 1e-3 at large concentrations.
@pytest.mark.parametrize(("kind", "error"), [(VonMisesFisher, 2e-4), (PowerSpherical, 5e-3)])
@DIMS
@pytest.mark.parametrize("kappa", KAPPAS)
def test_draws_move_with_kappa_along_a_level(kind: type, error: float, dim: int, kappa: float) -> None:
    """At a fixed level F of the distribution function, dy/dkappa = -(dF/dkappa) / density, here by differences."""
    kappas = torch.full((300,), kappa, dtype=torch.float64, requires_grad=True)
    # A little beside e1: the cosine alone does not tell y.
    z = kind(first_axis(dim).expand(300, dim), kappas).rsample()
    y = torch.atanh(z[:, 0])
    moved = torch.autograd.grad(y.sum(), kappas)[0].numpy()
    y = y.detach().numpy()
    axis = Axis(kind, dim, kappa)
    step = 1e-4 * kappa
    above, below = (Axis(kind, dim, kappa + change).levels() for change in (step, -step))
    grid = np.linspace(-45, 45, 90_001)
    known = -np.interp(y, grid, (above - below) / (2 * step)) / np.interp(y, grid, axis.density)
    inside = np.interp(y, grid, axis.levels() * (1 - axis.levels())) > 1e-3
    assert inside.mean() > 0.9
    assert moved[inside] == pytest.approx(known[inside], rel=error, abs=error * np.abs(known[inside]).mean())


@BOTH
@DIMS
@pytest.mark.parametrize("kappa", KAPPAS)
def test_gradients_of_draws_average_to_the_gradient_of_the_mean(kind: type, dim: int, kappa: float) -> None:
    """E f(z) of f = b.z + z M z is known of the axis' moments; gradients in kappa and in a multiple of loc."""
    draws = 20_000 if dim < 100 else 5_000
    direction = 1.7 * directions(dim)
    # Of the size at which neither what happens along the axis nor what happens beside it drowns the other.
    scale = 1 / math.sqrt(1 + kappa)
    b = direction + scale * torch.randn(dim, dtype=torch.float64)
    m = scale * torch.randn(dim, dim, dtype=torch.float64)
    m = 0.5 * (m + m.T)
    kappas = torch.full((draws,), kappa, dtype=torch.float64, requires_grad=True)
    rows = direction.expand(draws, dim).clone().requires_grad_()
    z = kind(normalize(rows, dim=-1), kappas).rsample()
    values = z @ b + ((z @ m) * z).sum(-1)
    in_kappa, in_rows = torch.autograd.grad(values.sum(), [kappas, rows])

    axis = Axis(kind, dim, kappa)
    row = direction.clone().requires_grad_()
    loc = normalize(row, dim=-1)
    first, second = axis.mean(axis.cosine), axis.mean(axis.cosine**2)
    beside = axis.mean(axis.sine**2) / (dim - 1)
    known = first * b @ loc + second * loc @ m @ loc + beside * (m.trace() - loc @ m @ loc)
    known_in_row = torch.autograd.grad(known, row)[0]
    form, slope = (loc @ m @ loc).item(), (b @ loc).item()
    in_first, in_second = (axis.covariance(axis.statistic, axis.cosine**power) for power in (1, 2))
    known_in_kappa = in_first * slope + in_second * (form - (m.trace().item() - form) / (dim - 1))

    assert values.mean().item() == pytest.approx(known.item(), abs=4.5 * values.std().item() / draws**0.5)
    error = in_kappa.std().item() / draws**0.5
    assert abs(in_kappa.mean().item() - known_in_kappa) < 4.5 * error
    assert error < 0.2 * abs(known_in_kappa), "this tells a wrong gradient"
    errors = in_rows.std(0) / draws**0.5
    assert ((in_rows.mean(0) - known_in_row).abs() < 4.5 * errors + 1e-12).all()
    # So does this one, but where the draws hardly know of loc.
    assert (in_rows @ known_in_row).std() / draws**0.5 < 0.2 * known_in_row.square().sum() or first < 0.01


@BOTH
def test_a_draw_carries_gradients_where_it_is_asked_to_and_is_the_same_draw(kind: type) -> None:
    loc, kappa = directions(2, 3, 5).requires_grad_(), torch.rand(3, dtype=torch.float64).requires_grad_()
    q = kind(loc, kappa)
    assert (q.batch_shape, q.event_shape, q.has_rsample) == ((2, 3), (5,), True)
    torch.manual_seed(1)
    without = q.sample((7, 4))
    torch.manual_seed(1)
    drawn = q.rsample((7, 4))
    assert drawn.shape == (7, 4, 2, 3, 5)
    assert torch.equal(drawn, without)
    assert drawn.requires_grad
    assert not without.requires_grad
    assert q.log_prob(drawn).shape == (7, 4, 2, 3)
    assert q.mean.shape == q.mode.shape == (2, 3, 5)
    assert q.entropy().shape == q.concentration.shape == (2, 3)
    fixed = kind(loc.detach(), kappa.detach())
    assert not fixed.rsample().requires_grad


@BOTH
@pytest.mark.parametrize("dim", [2, 3, 4, 8, 65, 513])
def test_nothing_overflows_in_single_precision(kind: type, dim: int) -> None:
    axis = torch.eye(dim)[0]
    nearly = normalize(axis + 1e-7 * torch.randn(dim), dim=0)
    locs = torch.stack([axis, -axis, nearly, -nearly, torch.eye(dim)[1], directions(dim, dtype=torch.float32)])
    loc = locs.requires_grad_()
    kappa = torch.tensor([0.0, 1e-4, 1e-2, 1.0, 30.0, 1e3, 1e4, 1e5])[:, None].requires_grad_()
    q, p = kind(loc, kappa), HypersphericalUniform(dim, like=loc)
    z = q.rsample((500 if dim < 100 else 20,))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(z.shape[:-1]), rtol=0, atol=1e-6)
    numbers = {"kl": kl_divergence(q, p), "entropy": q.entropy(), "log_prob": q.log_prob(z), "draw": z, "mean": q.mean}
    numbers["log_prob of the ends"] = q.log_prob(torch.stack([loc.detach(), -loc.detach()])[:, None])
    for name, number in numbers.items():
        assert number.dtype == torch.float32, name
        assert number.isfinite().all(), name
        gradients = torch.autograd.grad(number.sum(), [loc, kappa], retain_graph=True, allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients), name
    # With loc, however near e1, a draw turns no faster than the reflection of a unit vector can.
    turned = torch.autograd.grad(z[0, 0].sum(), loc)[0]
    assert turned.norm(dim=-1).max() < 8 * math.sqrt(dim)


@BOTH
def test_rounding_of_unit_vectors_is_not_multiplied_by_kappa(kind: type) -> None:
    loc = directions(100, 9, dtype=torch.float32)
    q = kind(loc, torch.full((100,), 1e5))
    z = q.sample((100,))
    exact = kind(normalize(loc.double(), dim=-1), torch.full((100,), 1e5).double())
    known = exact.log_prob(normalize(z.double(), dim=-1))
    torch.testing.assert_close(q.log_prob(z).double(), known, rtol=0, atol=5e-5)


@BOTH
@pytest.mark.parametrize("dim", [2, 3])
def test_draws_at_the_far_end_have_a_finite_density(kind: type, dim: int) -> None:
    q = kind(torch.eye(dim)[:1], torch.tensor([0.01]).requires_grad_())
    z = q.rsample((50_000,))
    assert z[..., 0].min() < -1 + 1e-3
    assert q.log_prob(z).isfinite().all()
    assert torch.autograd.grad(z[..., 0].sum(), q.concentration)[0].isfinite().all()


def test_a_concentration_that_is_no_number_is_passed_on() -> None:
    loc = directions(3, 4)
    kappa = torch.tensor([1.0, math.nan, math.inf], dtype=torch.float64)
    z = VonMisesFisher(loc, kappa).rsample((5,))
    assert z[:, 0].isfinite().all()
    assert z[:, 1].isnan().all()


# Paths


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 1.0])
def test_a_path_on_the_sphere_turns_at_a_constant_rate(t: float) -> None:
    a, b = normalize(torch.randn(2, 50, 5, dtype=torch.float64), dim=-1)
    point = slerp(a, b, t)
    torch.testing.assert_close(point.norm(dim=-1), torch.ones(50, dtype=torch.float64))
    angle = (a * b).sum(-1).acos()
    torch.testing.assert_close((a * point).sum(-1), (t * angle).cos())
    torch.testing.assert_close((b * point).sum(-1), ((1 - t) * angle).cos())


def test_the_middle_of_a_path_is_the_midpoint_between_equal_near_and_opposite_directions_too() -> None:
    a, b = torch.randn(2, 50, 5)
    near = a + 1e-5 * b
    for end in (b, a, 3 * a, near, -a, -2 * a, torch.zeros_like(a)):
        torch.testing.assert_close(slerp(a, end, 0.5), slerp_midpoint(a, end), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(slerp(a, end, 0.0), a)
        torch.testing.assert_close(slerp(a, end, 1.0), end)
    torch.testing.assert_close(slerp(a, -a, 0.25), a / 2)


@pytest.mark.parametrize("option", ["von_mises_fisher", "power_spherical"])
def test_the_concentration_of_a_posterior_is_at_least_1_and_the_direction_has_length_1(option: str) -> None:
    posterior = part_of("posterior", option, latent_size=2, coordinates=2)
    raw = torch.tensor([[3.0, 0, 4, -50], [0, -2, 0, 0], [1, 1, 1, 20]])
    q = posterior(raw)
    torch.testing.assert_close(q.mode, torch.tensor([[0.6, 0, 0.8], [0, -1, 0], [3**-0.5] * 3]))
    torch.testing.assert_close(q.concentration.flatten(), torch.tensor([1, 1 + math.log(2), 21]))
