"""Divergences of a set of codes from the prior: against loops, quadrature, brute force and the POT library."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from latentbench.contracts.options import options, part_of
from latentbench.errors import UserError
from latentbench.posteriors.dirac import Dirac
from latentbench.regularizers.base import Latents
from latentbench.regularizers.cramer_wold import cramer_wold_squared, phi
from latentbench.regularizers.maximum_mean_discrepancy import ESTIMATORS, KERNELS, mmd_squared
from latentbench.regularizers.sinkhorn import sinkhorn_divergence
from latentbench.regularizers.sliced_wasserstein import sliced_wasserstein_squared

SHAPE = (1, 2, 2)
WIDTHS = [0.4, 4.0, 40.0]
DRAWN = ["mmd", "sinkhorn", "sliced_wasserstein"]  # what compares codes with draws of the prior
OF_SAMPLES = [*DRAWN, "cramer_wold"]
MMDS = list(itertools.product(KERNELS, ESTIMATORS))
converged = functools.partial(sinkhorn_divergence, iterations=10_000, tolerance=1e-9)


def pot() -> Any:
    return pytest.importorskip("ot", reason="POT is not installed")


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def normal(size: int) -> Distribution:
    return Independent(Normal(torch.zeros(size), torch.ones(size)), 1)


def r_of(option: str, z: Tensor, p: Distribution | None = None, **settings: Any) -> Tensor:
    """R of codes z, with N(0, I) or p for a prior."""
    made = part_of("regularizer", option, latent_size=z.shape[1], **settings)
    x = torch.zeros(len(z), *SHAPE)
    p = p or normal(z.shape[1])
    r: Tensor = made(
        Latents(
            x=x,
            z=z,
            q=Dirac(z),
            p=p,
            decoder=nn.Identity(),
            decode=nn.Identity(),
            dataset_size=len(z),
        )
    )
    return r


def gradient(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    (made,) = torch.autograd.grad(f(given := z.clone().requires_grad_()), given)
    return made


# All of them


@pytest.mark.parametrize("option", OF_SAMPLES)
def test_r_is_small_for_draws_of_the_prior_and_grows_as_codes_shift_spread_or_contract(option: str) -> None:
    z = torch.randn(500, 2)
    at_the_prior, *away = (r_of(option, codes).item() for codes in (z, z + 1, z + 3, 3 * z, z / 3))
    near, far, wide, narrow = away
    noise = 0.1 * (far - at_the_prior)
    if option == "cramer_wold":
        assert at_the_prior < math.log(0.003), "500 codes smoothed with a variance of 0.1 are about that far"
    else:
        assert abs(at_the_prior) < 0.05
    assert at_the_prior + noise < near < far - noise
    assert at_the_prior < min(wide, narrow) - 0.1


@pytest.mark.parametrize("size", [1, 2, 3, 512])
@pytest.mark.parametrize("n", [1, 2, 100])
@pytest.mark.parametrize("option", OF_SAMPLES)
def test_value_and_gradient_are_finite_whatever_the_codes(option: str, n: int, size: int) -> None:
    ones = torch.ones(n, size)
    kinds = (torch.randn(n, size), 0 * ones, ones, ones + 1e3, 1e3 * torch.randn(n, size), 1e6 * torch.randn(n, size))
    for z in (*kinds, torch.cat([ones[1:], 1e3 * ones[:1]])):
        z.requires_grad_()
        r = r_of(option, z)
        r.backward()
        assert r.shape == ()
        assert r.isfinite()
        assert z.grad is not None
        assert z.grad.isfinite().all()


@pytest.mark.parametrize("option", ["cramer_wold", "sinkhorn", "sliced_wasserstein"])
def test_codes_far_off_are_called_back(option: str) -> None:
    pull = gradient(lambda codes: r_of(option, codes), torch.randn(20, 2) + 1e3)
    assert (pull.mean(0) > 0).all()


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1, 1e3), (1e3, 0)])
@pytest.mark.parametrize("option", ["cramer_wold", "sinkhorn"])
def test_gradients_of_far_codes_are_not_rounding_errors(option: str, scale: float, shift: float) -> None:
    z = scale * torch.randn(20, 8) + shift
    single, precise = (
        gradient(lambda codes: r_of(option, codes, Dirac(torch.zeros(8).to(codes))), codes) for codes in (z, z.double())
    )
    assert (single - precise).norm() < 1e-4 * precise.norm()


@pytest.mark.parametrize("option", DRAWN)
def test_r_compares_codes_with_as_many_draws_of_the_prior_and_has_gradients_to_them(option: str) -> None:
    z, draw = torch.randn(6, 2), torch.ones(2, requires_grad=True)
    torch.manual_seed(1)
    r = r_of(option, z, Dirac(draw))
    r.backward()
    assert draw.grad is not None
    assert draw.grad.all()
    draws = torch.ones(6, 2)
    if option == "mmd":
        made = part_of("regularizer", option, latent_size=2)
        widths = [4 * scale for scale in made.scales]
        known = mmd_squared(z, draws, kernel=made.kernel, widths=widths, estimator=made.estimator)
    elif option == "sinkhorn":
        known = converged(z.double(), draws.double(), epsilon=0.5 * 4).float()
    else:
        torch.manual_seed(1)
        known = sliced_wasserstein_squared(z, draws, nn.functional.normalize(torch.randn(50, 2)))
    torch.testing.assert_close(r, known, rtol=1e-4, atol=1e-5)


DIRECTIONS = nn.functional.normalize(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double())
FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    f"mmd {kernel} {estimator}": functools.partial(mmd_squared, kernel=kernel, widths=WIDTHS, estimator=estimator)
    for kernel, estimator in MMDS
} | {
    "sliced": functools.partial(sliced_wasserstein_squared, directions=DIRECTIONS),
    "sinkhorn": functools.partial(converged, epsilon=0.7),
    "cramer_wold": lambda a, b: cramer_wold_squared(a),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    a, b = double(7, 3).requires_grad_(), double(7, 3).requires_grad_(name != "cramer_wold")
    assert torch.autograd.gradcheck(FUNCTIONS[name], (a, b), atol=1e-6)


@pytest.mark.parametrize(
    ("option", "setting", "value", "named"),
    [
        ("mmd", "kernel", "linear", "inverse_multiquadric, rbf"),
        ("mmd", "estimator", "none", "unbiased, biased"),
        ("mmd", "scales", [], "above 0"),
        ("mmd", "scales", [1.0, 0.0], "above 0"),
        ("mmd", "scales", ["a"], "above 0"),
        ("mmd", "scales", [math.inf], "above 0"),
        ("mmd", "scales", -1, "above 0"),
        ("sliced_wasserstein", "projections", 0, "1 or more"),
        ("sinkhorn", "epsilon", 0, "above 0"),
        ("sinkhorn", "iterations", 0, "1 or more"),
        ("sinkhorn", "tolerance", -1, "at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_told_with_what_would(
    option: str, setting: str, value: object, named: str
) -> None:
    with pytest.raises(UserError, match=named) as raised:
        part_of("regularizer", option, latent_size=2, **{setting: value})
    assert str(raised.value).startswith(f"regularizer.{setting}=")
    assert "\n" not in str(raised.value)


# Maximum mean discrepancy


def naive_mmd(a: Tensor, b: Tensor, kernel: str, widths: list[float], estimator: str) -> float:
    """MMD^2 by loops over pairs."""

    def similarity(u: Tensor, v: Tensor) -> float:
        squared = (u - v).square().sum().item()
        if kernel == "rbf":
            return sum(math.exp(-squared / w) for w in widths)
        return sum(w / (w + squared) for w in widths)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    def pairs(points: Tensor) -> list[tuple[Tensor, Tensor]]:
        several = itertools.permutations(points, 2) if estimator == "unbiased" else itertools.product(points, points)
        return list(several)

    own = [mean([similarity(u, v) for u, v in pairs(points)]) for points in (a, b)]
    return sum(own) - 2 * mean([similarity(u, v) for u, v in itertools.product(a, b)])


@pytest.mark.parametrize(("n", "m", "size"), [(5, 7, 3), (6, 6, 1), (1, 4, 2), (1, 1, 2)])
@pytest.mark.parametrize(("kernel", "estimator"), MMDS)
def test_mmd_is_that_of_two_loops(kernel: str, estimator: str, n: int, m: int, size: int) -> None:
    a, b = double(n, size), 1 + double(m, size)
    made = mmd_squared(a, b, kernel=kernel, widths=WIDTHS, estimator=estimator).item()
    assert made == pytest.approx(naive_mmd(a, b, kernel, WIDTHS, estimator), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_unbiased_mmd_averages_to_zero_over_small_sets_of_one_distribution(kernel: str) -> None:
    unbiased, biased = (
        torch.stack(
            [
                mmd_squared(torch.randn(6, 2), torch.randn(6, 2), kernel=kernel, widths=WIDTHS, estimator=estimator)
                for _ in range(1000)
            ]
        )
        for estimator in ("unbiased", "biased")
    )
    assert abs(unbiased.mean()) < 4 * unbiased.std() / 1000**0.5 < 0.1
    assert unbiased.min() < 0, "hence sometimes negative"
    assert biased.min() >= 0
    assert biased.mean() > 0.3, "a point paired with itself counts"


@pytest.mark.parametrize(("kernel", "estimator"), MMDS)
def test_mmd_has_gradients_where_points_coincide(kernel: str, estimator: str) -> None:
    of = functools.partial(mmd_squared, b=torch.ones(4, 2), kernel=kernel, widths=WIDTHS, estimator=estimator)
    assert (gradient(of, torch.zeros(4, 2)) < 0).all(), "towards the prior's draws"


# Sliced Wasserstein distance


def test_sliced_wasserstein_is_that_of_pot_for_the_same_directions() -> None:
    a, b, directions = double(20, 3) + 1, double(20, 3), nn.functional.normalize(double(11, 3))
    known = pot().sliced_wasserstein_distance(a.numpy(), b.numpy(), projections=directions.T.numpy(), p=2) ** 2
    assert sliced_wasserstein_squared(a, b, directions).item() == pytest.approx(known, rel=1e-9)


def test_sliced_wasserstein_on_a_line_is_the_cheapest_of_all_assignments() -> None:
    a, b = double(6, 1), double(6, 1)
    known = min((a - b[list(order)]).square().mean().item() for order in itertools.permutations(range(6)))
    for direction in (1.0, -1.0):
        made = sliced_wasserstein_squared(a, b, torch.tensor([[direction]], dtype=torch.float64))
        assert made.item() == pytest.approx(known, rel=1e-12)


def test_a_shift_costs_its_squared_length_over_the_dimensions_in_directions_that_are_drawn_anew() -> None:
    z, shift = torch.zeros(1, 5), torch.tensor([3.0, 0.0, 0.0, 4.0, 0.0])
    made = [r_of("sliced_wasserstein", z, Dirac(shift), projections=4000).item() for _ in range(2)]
    # (v . shift)^2 / 25 has mean 1/5 and variance 2 (D - 1) / (D^2 (D + 2)) = 0.046 for directions on the sphere.
    assert made == pytest.approx([5.0, 5.0], abs=5 * 25 * 0.046**0.5 / 4000**0.5)
    assert made[0] != made[1]


# Cramer-Wold distance


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 20, 64, 512])
def test_phi_and_its_derivative_are_kummers_function(size: int) -> None:
    s = torch.cat([torch.zeros(1), torch.logspace(-4, 6, 101)]).double()
    if size == 1:
        s = s[s < 100]
    tolerance = 1e-6 if size == 2 else 1e-7
    known = torch.from_numpy(scipy.special.hyp1f1(0.5, size / 2, -s.numpy()))
    torch.testing.assert_close(phi(s, size), known, rtol=tolerance, atol=0)
    torch.testing.assert_close(phi(s.float(), size).double(), known, rtol=2e-6, atol=0 if size > 1 else 1e-40)
    slope = torch.from_numpy(-scipy.special.hyp1f1(1.5, size / 2 + 1, -s.numpy()) / size)
    made = gradient(lambda s: phi(s, size).sum(), s)
    torch.testing.assert_close(made, slope, rtol=100 * tolerance, atol=0)


def test_phi_is_what_it_is_known_to_be_in_two_and_three_dimensions() -> None:
    s = torch.linspace(0.01, 50, 500).double()
    torch.testing.assert_close(phi(s, 2), torch.special.i0e(s / 2), rtol=1e-6, atol=0)
    torch.testing.assert_close(phi(s, 3), (math.pi / s).sqrt() * torch.erf(s.sqrt()) / 2, rtol=1e-7, atol=0)


def squared_distance_in_direction(z: Tensor, direction: Tensor) -> float:
    """int (f_v - g_v)^2 of smoothed projections, on a grid."""
    variance = (4 / (3 * len(z))) ** 0.4
    t = torch.linspace(-20, 20, 501).double()  # exact to rounding: steps are a sixth of the smoothing's scale
    f = Normal(z @ direction, variance**0.5).log_prob(t[:, None]).exp().mean(1)
    g = Normal(0.0, (1 + variance) ** 0.5).log_prob(t).exp()
    return torch.trapezoid((f - g).square(), t).item()


@pytest.mark.parametrize("n", [1, 2, 40])
def test_cramer_wold_is_the_mean_of_all_directions_on_a_line_and_in_a_plane(n: int) -> None:
    line = double(n, 1) + 0.5
    one = squared_distance_in_direction(line, torch.ones(1).double())
    assert cramer_wold_squared(line).item() == pytest.approx(one, rel=1e-6)
    plane = double(n, 2) * torch.tensor([0.5, 2.0])
    angles = torch.arange(200).double() * math.pi / 200
    many = [squared_distance_in_direction(plane, torch.stack([a.cos(), a.sin()])) for a in angles]
    assert cramer_wold_squared(plane).item() == pytest.approx(sum(many) / 200, rel=1e-5)


@pytest.mark.parametrize("size", [3, 8])
def test_cramer_wold_is_the_mean_of_random_directions_in_space(size: int) -> None:
    z = 1.5 * double(30, size) + 0.5
    directions = nn.functional.normalize(double(1000, size))
    many = torch.tensor([squared_distance_in_direction(z, direction) for direction in directions])
    error = (many.std() / 1000**0.5).item()
    assert error < 0.03 * many.mean(), "the test can tell a wrong formula"
    assert cramer_wold_squared(z).item() == pytest.approx(many.mean().item(), abs=4 * error)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_prior_itself_is_nearest_to_the_prior(size: int) -> None:
    z = torch.randn(1000, size)
    made = [r_of("cramer_wold", scale * z).item() for scale in (0.85, 1.0, 1.18)]
    assert made[1] < min(made[0], made[2]) - 0.3


def test_r_is_finite_where_the_distance_is_lost_in_rounding() -> None:
    quantiles = torch.from_numpy(scipy.stats.norm.ppf((torch.arange(2000) + 0.5) / 2000)).float()[:, None]
    assert cramer_wold_squared(quantiles) < torch.finfo(torch.float32).eps
    assert r_of("cramer_wold", quantiles).item() == pytest.approx(math.log(torch.finfo(torch.float32).eps))
    assert not gradient(lambda z: r_of("cramer_wold", z), quantiles).any()


@pytest.mark.parametrize("prior", options("prior"))
def test_cramer_wold_refuses_all_priors_but_the_standard_normal(prior: str) -> None:
    made = part_of("prior", prior, latent_size=2, shape=SHAPE)
    gaussian = part_of("posterior", "gaussian", latent_size=2, coordinates=2)
    reason = part_of("regularizer", "cramer_wold", latent_size=2).refuses(posterior=gaussian, prior=made)
    assert (reason is None) == (prior == "normal")


# Sinkhorn divergence


@pytest.mark.parametrize(("n", "m", "epsilon"), [(30, 40, 0.5), (30, 30, 5.0), (5, 1, 1.0)])
def test_sinkhorn_is_that_of_pot(n: int, m: int, epsilon: float) -> None:
    ot = pot()
    a, b = 0.7 * double(n, 3) + 0.3, double(m, 3)

    def transport(u: Tensor, v: Tensor) -> float:
        cost = ot.dist(u.numpy(), v.numpy())
        plan = ot.sinkhorn([], [], cost, epsilon, numItermax=100_000, stopThr=1e-11)
        return float((plan * cost).sum() + epsilon * scipy.special.rel_entr(plan, 1 / plan.size).sum())

    known = transport(a, b) - transport(a, a) / 2 - transport(b, b) / 2
    assert converged(a, b, epsilon=epsilon).item() == pytest.approx(known, rel=1e-7)


def test_sinkhorn_goes_from_the_exact_distance_to_that_of_the_means_with_epsilon() -> None:
    a, b = double(8, 2) + 0.5, double(8, 2)
    known = pot().emd2([], [], pot().dist(a.numpy(), b.numpy()))
    assert converged(a, b, epsilon=0.01).item() == pytest.approx(known, rel=0.01)
    assert converged(a, b, epsilon=1e5).item() == pytest.approx((a.mean(0) - b.mean(0)).square().sum().item(), rel=1e-3)


def test_sinkhorn_of_a_set_and_itself_is_zero_and_of_a_shifted_one_the_squared_shift() -> None:
    a, shift = torch.randn(50, 4), torch.tensor([1.0, 0.0, -2.0, 0.0])
    default = functools.partial(sinkhorn_divergence, epsilon=4.0, iterations=100, tolerance=1e-3)
    assert default(a, a).item() == pytest.approx(0, abs=1e-4)
    assert default(a, a + shift).item() == pytest.approx(5, rel=1e-4)
    assert default(a[:1], a[:1] + shift).item() == pytest.approx(5, rel=1e-6), "one code has one place to go"


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_default_iterations_suffice(size: int) -> None:
    for scale in (0.1, 1.0, 3.0):
        z, draw = scale * torch.randn(100, size), torch.randn(100, size)

        def r(codes: Tensor, draw: Tensor = draw) -> Tensor:
            torch.manual_seed(1)
            return r_of("sinkhorn", codes, Independent(Normal(torch.zeros(size).to(codes), 1), 1))

        torch.manual_seed(1)
        draws = normal(size).sample((100,)).double()
        exact = functools.partial(converged, b=draws, epsilon=0.5 * 2 * size)
        assert r(z).item() == pytest.approx(exact(z.double()).item(), rel=1e-3, abs=1e-4)
        known = gradient(exact, z.double())
        assert (gradient(r, z) - known).norm() < 0.01 * known.norm()
