"""Flows: their densities integrate to one and are those of their draws, by autograd, by quadrature and by zuko."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from latentbench.contracts.options import part_of
from latentbench.errors import UserError
from latentbench.posteriors.flow import GATE, InverseAutoregressiveFlow
from latentbench.priors.flow import TRANSFORMS, Flow, import_zuko
from latentbench.regularizers.kullback_leibler import has_closed_form

SHAPE = (1, 2, 2)
KINDS = sorted(TRANSFORMS)
HIDDEN = [16]
PARTS: dict[str, dict[str, Any]] = {"prior": {"shape": SHAPE}, "posterior": {"coordinates": 2}}


def shaken(module: nn.Module, by: float = 0.3) -> nn.Module:
    """The module in double precision, away from its first weights."""
    with torch.no_grad():
        for weight in module.double().parameters():
            weight.add_(by * torch.randn_like(weight))
    return module


def prior(kind: str, size: int, **settings: Any) -> Any:
    return part_of("prior", "flow", latent_size=size, shape=SHAPE, transform=kind, **settings)


def posterior(size: int, **settings: Any) -> Any:
    return part_of(
        "posterior", "flow", latent_size=size, coordinates=size, **{"hidden": HIDDEN, "context": 3} | settings
    )


def shaken_posterior(size: int, images: int = 4, **settings: Any) -> InverseAutoregressiveFlow:
    made = shaken(posterior(size, **settings))
    q: InverseAutoregressiveFlow = made(torch.randn(images, made.inputs, dtype=torch.float64))
    return q


def plane(extent: float, points: int) -> tuple[Tensor, float]:
    """Points of a square grid (N, 2) and the area of each."""
    axis = torch.linspace(-extent, extent, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), (2 * extent / (points - 1)) ** 2


@torch.no_grad()
def density(of: Distribution, z: Tensor) -> Tensor:
    """p(z), without a graph."""
    return of.log_prob(z).exp()


@pytest.mark.parametrize("kind", KINDS)
def test_a_priors_density_integrates_to_one(kind: str) -> None:
    z = torch.linspace(-30, 30, 10_001, dtype=torch.float64)[:, None]
    mass = scipy.integrate.simpson(density(shaken(prior(kind, 1))(None), z), x=z[:, 0])
    assert mass == pytest.approx(1, abs=1e-4)  # of the rule, where a spline's slope has a kink
    z, area = plane(15, 401)
    mass = density(shaken(prior(kind, 2, hidden=HIDDEN))(None), z).sum() * area
    assert mass == pytest.approx(1, abs=1e-3)


def test_a_posteriors_density_integrates_to_one() -> None:
    z = torch.linspace(-40, 40, 10_001, dtype=torch.float64)[:, None, None]
    mass = scipy.integrate.simpson(density(shaken_posterior(1), z), x=z[:, 0, 0], axis=0)
    assert mass == pytest.approx(1, abs=1e-6)
    z, area = plane(15, 401)
    mass = density(shaken_posterior(2), z[:, None]).sum(0) * area
    assert mass.numpy() == pytest.approx(1, abs=1e-3)


def line_and_plane(flow: str) -> tuple[Distribution, Distribution]:
    """A flow in one and one in two dimensions, of batch shape () or (1,)."""
    if flow == "posterior":
        return shaken_posterior(1, 1), shaken_posterior(2, 1)
    return shaken(prior(flow, 1))(None), shaken(prior(flow, 2, hidden=HIDDEN))(None)


@pytest.mark.parametrize("flow", [*KINDS, "posterior"])
def test_draws_follow_the_density(flow: str) -> None:
    one, two = line_and_plane(flow)
    z = torch.linspace(-40, 40, 10_001, dtype=torch.float64).reshape(-1, *one.batch_shape, 1)
    cumulative = scipy.integrate.cumulative_trapezoid(density(one, z).flatten(), z.flatten(), initial=0)
    draws = one.sample((20_000,)).flatten()
    # Such a distance happens by chance once in a thousand seeds, and the seed is fixed.
    spot = torch.searchsorted(z.flatten(), draws)
    assert scipy.stats.kstest(cumulative[spot], "uniform").pvalue > 1e-3

    z, area = plane(15, 401)
    weight = density(two, z.reshape(-1, *two.batch_shape, 2)).flatten() * area
    draws = two.sample((50_000,)).reshape(-1, 2)
    for moment in (lambda z: z[:, 0] * z[:, 1], lambda z: z.sin().prod(1), lambda z: z.square().sum(1)):
        made = moment(draws)
        assert (made.mean() - (weight * moment(z)).sum()).abs() < 5 * made.std() / 50_000**0.5 + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_priors_density_is_the_change_of_variables_of_its_draws(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = shaken(prior(kind, 5))(None)
    for noise in torch.randn(3, 5, dtype=torch.float64):

        def draw(noise: Tensor) -> Tensor:
            monkeypatch.setattr(torch, "randn", lambda *_, **__: noise)
            return p.rsample()

        volume = jacobian(draw, noise).slogdet().logabsdet
        known = Normal(0, 1).log_prob(noise).sum() - volume
        torch.testing.assert_close(p.log_prob(draw(noise)), known, rtol=0, atol=1e-7)
        assert volume.abs() > 0.1, "the test can tell a missing determinant"


def test_a_posteriors_density_is_the_change_of_variables_of_its_draws() -> None:
    q = shaken_posterior(5, 1, transforms=3)
    for noise in torch.randn(3, 5, dtype=torch.float64):

        def draw(noise: Tensor) -> Tensor:
            return q.transform(q.base_mean[0] + q.base_log_scale[0].exp() * noise)[0][0]

        volume = jacobian(draw, noise).slogdet().logabsdet
        known = Normal(0, 1).log_prob(noise).sum() - volume
        torch.testing.assert_close(q.log_prob(draw(noise)[None])[0], known, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_the_kept_density_of_a_draw_is_that_of_the_same_point_given_anew(
    size: int, dtype: torch.dtype, tolerance: float
) -> None:
    made = shaken(posterior(size), by=0.1).to(dtype)
    q = made(0.5 * torch.randn(4, made.inputs, dtype=dtype))
    for shape in ((), (3,), (3, 2)):
        z = q.rsample(shape)
        kept = q.log_prob(z)
        assert kept.shape == (*shape, 4)
        anew = q.log_prob(z.clone())
        assert anew is not kept
        torch.testing.assert_close(kept, anew, rtol=0, atol=tolerance * size)


def test_a_density_has_the_gradients_of_where_its_point_came_from() -> None:
    made = shaken(posterior(3))
    raw = torch.randn(4, made.inputs, dtype=torch.float64, requires_grad=True)
    q = made(raw)
    z = q.rsample()
    wanted = [raw, *made.parameters()]
    gradients = partial(torch.autograd.grad, inputs=wanted, retain_graph=True, allow_unused=True)
    # Of a draw with gradients, along the way it came; log q(z) is a function of the noise then.
    assert q.log_prob(z) is q.log_prob(z)
    kept, anew = gradients(q.log_prob(z).sum()), gradients(q.log_prob(z * 1).sum())
    for ours, theirs in zip(kept, anew, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    # Of a draw without, at a fixed point: the score, whose mean over draws is 0 but which is not.
    z = q.sample()
    with torch.no_grad():
        kept_value = q.log_prob(z)
    torch.testing.assert_close(q.log_prob(z), kept_value, rtol=0, atol=1e-8)
    score = gradients(q.log_prob(z).sum())
    for ours, theirs in zip(score, gradients(q.log_prob(z.clone()).sum()), strict=True):
        assert ours.any()
        torch.testing.assert_close(ours, theirs)


def test_the_density_of_many_posteriors_at_points_of_others_is_that_of_each() -> None:
    q = shaken_posterior(3, images=5)
    z = 2 * torch.randn(4, 2, 1, 3, dtype=torch.float64)
    together = q.log_prob(z)
    assert together.shape == (4, 2, 5)
    each = [q.log_prob(z.expand(4, 2, 5, 3))[..., i] for i in range(5)]
    torch.testing.assert_close(together, torch.stack(each, -1))
    slopes = together.exp().sum(0)
    assert (slopes[:, 1:] - slopes[:, :1]).abs().min() > 0, "each has its own context"


def zukos_inverse(maps: Any, y: Tensor) -> Tensor:
    """The inverse of an affine map by zuko: D passes of the whole network."""
    zuko = import_zuko().transforms
    theirs = zuko.AutoregressiveTransform(
        lambda x: zuko.DependentTransform(zuko.MonotonicAffineTransform(*maps.theta(x).unbind(-1)), 1), y.shape[-1]
    )
    inverse: Tensor = theirs.inv(y)
    return inverse


@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_the_inverse_is_zukos(size: int) -> None:
    y = torch.randn(6, size, dtype=torch.float64)
    maps = shaken(prior("affine", size, hidden=[8, 12]))(None).maps
    for one in maps:
        made = one.inverse(y)
        torch.testing.assert_close(made, zukos_inverse(one, y).expand_as(y), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(one(made)[0], y, rtol=1e-8, atol=1e-8)


def dependence(of: Any, size: int) -> Tensor:
    """Whether y_i changes with x_j."""
    return jacobian(of, torch.randn(size, dtype=torch.float64)).abs() > 1e-12


@pytest.mark.parametrize("hidden", [[64], [7, 5], [1], [1, 8]], ids=str)
def test_a_coordinate_is_moved_by_what_comes_before_it_in_alternating_orders(hidden: list[int]) -> None:
    size = 9
    up, down = shaken_posterior(size, 1, hidden=hidden).maps
    lower = torch.ones(size, size, dtype=torch.bool).tril()
    rising = dependence(lambda x: up(x[None])[0][0], size)
    falling = dependence(lambda x: down(x[None])[0][0], size)
    assert not rising[~lower].any()
    assert not falling[~lower.T].any()
    assert rising.diagonal().all()
    assert falling.diagonal().all()
    assert rising[-1].all(), "the last sees all the others, however narrow the layers"
    assert falling[0].all()
    if hidden == [64]:
        assert torch.equal(rising, lower)
        assert torch.equal(falling, lower.T)


def test_all_of_a_posteriors_maps_see_the_context() -> None:
    made = shaken(posterior(4, context=3))
    raw = torch.randn(1, made.inputs, dtype=torch.float64)
    x = torch.randn(1, 4, dtype=torch.float64)
    for step in made.maps:
        seen = jacobian(lambda context, step=step: step(context)(x)[0], raw[:, 8:])
        assert (seen.abs() > 1e-12).all()


def test_gradients_of_draws_are_those_of_the_expectation() -> None:
    made = shaken(posterior(2))
    raw = 0.5 * torch.randn(1, made.inputs, dtype=torch.float64)
    z, area = plane(14, 201)

    def value(z: Tensor) -> Tensor:
        return z[..., 0].sin() + z.prod(-1)

    def expectation(raw: Tensor) -> float:
        return ((density(made(raw), z[:, None])[:, 0] * value(z)).sum() * area).item()

    blocks = 40
    leaf = raw.expand(blocks, -1).clone().requires_grad_()
    value(made(leaf).rsample((1000,))).mean(0).sum().backward()
    assert leaf.grad is not None
    error = leaf.grad.std(0) / blocks**0.5
    for i in range(made.inputs):
        step = torch.zeros_like(raw)
        step[0, i] = 1e-4
        known = (expectation(raw + step) - expectation(raw - step)) / 2e-4
        assert abs(leaf.grad[:, i].mean() - known) < 5 * error[i], i
        assert error[i] < 0.05 * leaf.grad.mean(0).abs().max(), "the test can tell a wrong gradient"


def ring(n: int) -> Tensor:
    angle, radius = 2 * math.pi * torch.rand(n), 2 + 0.2 * torch.randn(n)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def banana(n: int) -> Tensor:
    x, y = torch.randn(2, n)
    return torch.stack([x, 0.3 * y + x.square() - 1], -1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", [ring, banana])
def test_a_flow_fits_what_no_gaussian_does(kind: str, codes: Callable[[int], Tensor]) -> None:
    made = prior(kind, 2)
    rate, steps = {"affine": (5e-3, 150), "spline": (1.5e-2, 70)}[kind]
    optimizer = torch.optim.Adam(made.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (-made(None).log_prob(codes(256)).mean()).backward()
        optimizer.step()
    unseen = codes(10_000)
    gaussian = MultivariateNormal(unseen.mean(0), unseen.T.cov())
    with torch.no_grad():
        gain = (made(None).log_prob(unseen) - gaussian.log_prob(unseen)).mean()
    assert gain > 0.6, "nats; the true densities gain 1.2 and 1.6"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 8, 64])
def test_a_flow_starts_near_a_standard_normal(kind: str, size: int) -> None:
    z = torch.randn(100, size)
    difference = prior(kind, size)(None).log_prob(z) - Independent(Normal(torch.zeros(size), 1.0), 1).log_prob(z)
    assert difference.abs().mean() < 0.1 * size
    with torch.no_grad():
        made = posterior(size, hidden=[64], context=32)
        start = torch.randn(100, size)
        moved = made(torch.randn(100, made.inputs)).transform(start)[0]
    gate = torch.tensor(2.0).sigmoid() ** 2
    assert (moved - gate * start).abs().mean() < 0.1


def test_beyond_its_splines_the_prior_is_the_gaussian_of_its_shift_and_scale() -> None:
    made = shaken(prior("spline", 3))
    with torch.no_grad():
        made.shift.copy_(torch.tensor([1.0, -2.0, 40.0]))
        made.log_scale.copy_(torch.tensor([0.0, 1.0, 3.0]))
    scale = made.log_scale.detach().exp()
    sign = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]], dtype=torch.float64)
    gaussian = Independent(Normal(made.shift.detach(), scale), 1)
    for away, is_beyond in ((5.01, True), (4.0, False)):
        z = made.shift.detach() + away * scale * sign
        same = torch.isclose(made(None).log_prob(z), gaussian.log_prob(z), rtol=0, atol=1e-6)
        assert (same if is_beyond else ~same).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 64, 512])
def test_far_codes_have_finite_densities_and_gradients_to_every_weight(kind: str, size: int) -> None:
    made = prior(kind, size)
    for scale in (1.0, 1e3):
        made.zero_grad()
        log_prob = made(None).log_prob(scale * torch.randn(20, size))
        log_prob.mean().backward()
        assert log_prob.isfinite().all()
        for name, weight in made.named_parameters():
            assert weight.grad.isfinite().all(), name
            assert weight.grad.any() or scale > 1, name
    if size <= 64:
        made.zero_grad()
        made(None).rsample((20,)).square().mean().backward()
        assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in made.parameters())


@pytest.mark.parametrize("size", [1, 3, 64, 512])
def test_a_posterior_of_any_numbers_has_finite_draws_densities_and_gradients(size: int) -> None:
    made = posterior(size, hidden=[64], context=32)
    for scale in (1.0, 1e4):
        raw = (scale * torch.randn(6, made.inputs)).requires_grad_()
        q = made(raw)
        z = q.rsample()
        made.zero_grad()
        (z.square().mean() + q.log_prob(z).mean()).backward(retain_graph=True)
        if size <= 64:
            assert q.log_prob(z + scale).isfinite().all()
        for name, tensor in [("raw", raw), *made.named_parameters()]:
            assert tensor.grad is not None, name
            assert tensor.grad.isfinite().all(), name
            assert tensor.grad.any() or scale > 1, name


def test_a_gate_that_is_shut_keeps_the_inverse_finite() -> None:
    theta = torch.tensor([[0.5, -1e4], [0.5, 1e4]])
    y, log_slope = GATE.forward(torch.full((2,), 3.0), theta)
    assert log_slope.tolist() == [-10, 0]
    torch.testing.assert_close(y, torch.tensor([0.5, 3.0]), rtol=1e-3, atol=0)
    torch.testing.assert_close(GATE.inverse(y, theta), torch.full((2,), 3.0), rtol=1e-2, atol=0)


def test_the_point_of_an_image_is_where_its_base_mean_is_moved() -> None:
    made = posterior(3)
    raw = torch.randn(4, made.inputs)
    raw[:, 3:6] = -10  # the least log sigma: draws stay at their centre
    q = made(raw)
    assert made.point_estimate(q).shape == (4, 3)
    torch.testing.assert_close(q.sample(), made.point_estimate(q), rtol=0, atol=1e-3)
    assert (made.point_estimate(q) - q.base_mean).abs().max() > 0.05


def test_no_kl_with_a_flow_has_a_closed_form_and_torch_goes_on_checking_arguments() -> None:
    q, p = posterior(3)(torch.randn(2, 9)), prior("affine", 3)(None)
    gaussian = Independent(Normal(torch.zeros(2, 3), 1.0), 1)
    assert not any(has_closed_form(*pair) for pair in ((q, p), (gaussian, p), (q, gaussian), (p, p)))
    assert isinstance(p, Flow)
    assert p.sample((2,)).grad_fn is None
    with pytest.raises(ValueError, match="constraint"):
        Normal(0.0, -1.0)


@pytest.mark.parametrize(
    ("group", "settings", "says"),
    [
        ("prior", {"transform": "planar"}, "prior.transform=planar: choose one of affine, spline"),
        ("prior", {"transforms": 0}, "prior.transforms=0: "),
        ("prior", {"hidden": []}, "prior.hidden=[]: "),
        ("posterior", {"hidden": [8, 0]}, "posterior.hidden=[8, 0]: "),
        ("posterior", {"transforms": 1.5}, "posterior.transforms=1.5: "),
        ("posterior", {"context": 0}, "posterior.context=0: "),
    ],
)
def test_senseless_settings_are_named(group: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        part_of(group, "flow", latent_size=2, **PARTS[group] | settings)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
