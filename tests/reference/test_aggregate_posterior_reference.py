"""What all codes together are: against loops, closed forms of Gaussians and scikit-learn's estimate."""

import itertools
import math
from typing import Any

import pytest
import torch
from sklearn.feature_selection import mutual_info_regression
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    kl_divergence,
)

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import inputs, options, part_of, untrained
from latentbench.distributions.factorised import Factorised
from latentbench.distributions.sampling import expected_squared_distance
from latentbench.errors import UserError
from latentbench.metrics import aggregate_posterior
from latentbench.metrics.active_units import active_units
from latentbench.metrics.aggregate_posterior import AggregatePosterior, densities
from latentbench.metrics.measurements import Estimate
from latentbench.metrics.prior_discrepancy import PriorDiscrepancy
from latentbench.metrics.rate import Rate
from latentbench.regularizers.maximum_mean_discrepancy import mmd_squared


def factorised(mean: Tensor, scale: float | Tensor) -> Any:
    return Factorised(Normal(mean, scale * torch.ones_like(mean)))


def standard(size: int) -> Any:
    return Independent(Normal(torch.zeros(size), torch.ones(size)), 1)


def parts_of(mean: Tensor, scale: float) -> tuple[float, float, float]:
    """Mutual information, marginal KL and total correlation of Gaussian posteriors and a standard normal prior."""
    q = factorised(mean, scale)
    found = densities([q], standard(mean.shape[1]), q.sample((1,)), is_factorised=True)
    assert found.factors is not None
    parts = found.own, found.prior, found.aggregate.of_all, found.factors.of_all
    own, prior, aggregate, factors = (part.mean().item() for part in parts)
    return own - aggregate, aggregate - prior, aggregate - factors


@pytest.mark.parametrize("sizes", [[6], [1, 2, 3]])
def test_densities_are_those_of_loops(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate_posterior, "MAX_ELEMENTS", 40)  # a few draws at once
    drawn, total = 4, sum(sizes)
    mean, scales = torch.randn(total, 2), torch.rand(total, 2) + 0.1
    posteriors = [factorised(*of) for of in zip(mean.split(sizes), scales.split(sizes), strict=True)]
    p, z = standard(2), factorised(mean[:drawn], scales[:drawn]).sample((3,))
    found = densities(posteriors, p, z, is_factorised=True)
    assert found.factors is not None
    for s, n in itertools.product(range(3), range(drawn)):
        point = z[s, n]
        each = [
            [Normal(mean[m, d], scales[m, d]).log_prob(point[d]).exp().item() for d in range(2)] for m in range(total)
        ]
        assert found.own[s, n].item() == pytest.approx(math.log(each[n][0] * each[n][1]), rel=1e-4)
        assert found.prior[s, n].item() == pytest.approx(p.log_prob(point).item(), rel=1e-5)
        rest = [row for m, row in enumerate(each) if m != n]
        for densities_, joint, factors in (
            (each, found.aggregate.of_all, found.factors.of_all),
            (rest, found.aggregate.of_others, found.factors.of_others),
        ):
            count = len(densities_)
            known = math.log(sum(a * b for a, b in densities_) / count)
            assert joint[s, n].item() == pytest.approx(known, rel=1e-4, abs=1e-4)
            known = sum(math.log(sum(row[d] for row in densities_) / count) for d in range(2))
            assert factors[s, n].item() == pytest.approx(known, rel=1e-4, abs=1e-4)


def test_without_independent_coordinates_the_joint_density_is_used() -> None:
    mean, scales = torch.randn(4, 2), torch.rand(4, 2) + 0.1
    q = factorised(mean, scales)
    joint = MultivariateNormal(mean, torch.diag_embed(scales**2))
    z = q.sample((3,))
    one, other = (densities([d], standard(2), z, is_factorised=d is q) for d in (q, joint))
    for made, known in zip(other.aggregate, one.aggregate, strict=True):
        torch.testing.assert_close(made, known, rtol=1e-4, atol=1e-4)
    assert other.factors is None


class Encoder:
    """q(z|x) = N(sqrt(1 - s^2) x, s^2 I) of images x ~ N(m, C), with the three quantities in closed form."""

    def __init__(self, information: float, size: int, *, away: float = 0.0, rho: float = 0.0) -> None:
        correlation = (1 - rho) * torch.eye(size, dtype=torch.float64) + rho
        self.images = MultivariateNormal(torch.full((size,), away).double(), correlation)
        # log det(I + C (1 - s^2) / s^2) / 2 is the information
        low, high = -20.0, 0.0
        for _ in range(60):
            middle = (low + high) / 2
            self.scale = math.exp(middle)
            low, high = (middle, high) if self.information > information else (low, middle)

    @property
    def covariance(self) -> Tensor:
        """Of q(z), which is normal."""
        own = self.scale**2 * torch.eye(*self.images.covariance_matrix.shape, dtype=torch.float64)
        return (1 - self.scale**2) * self.images.covariance_matrix + own

    @property
    def information(self) -> float:
        return self.covariance.logdet().item() / 2 - len(self.images.mean) * math.log(self.scale)

    def truth(self) -> dict[str, float]:
        size, mean = len(self.images.mean), (1 - self.scale**2) ** 0.5 * self.images.mean
        q = MultivariateNormal(mean, self.covariance)
        p = MultivariateNormal(torch.zeros_like(mean), torch.eye(size, dtype=torch.float64))
        correlation = (self.covariance.diagonal().log().sum() - self.covariance.logdet()) / 2
        return {
            "mutual_information": self.information,
            "marginal_kl": kl_divergence(q, p).item(),
            "total_correlation": correlation.item(),
        }

    def measure(self, images: int, posteriors: int) -> dict[str, Estimate]:
        metric = AggregatePosterior(images=images, samples=4, posteriors=posteriors)
        test, *metric.other_images = self.images.sample((posteriors,)).float().tensor_split([images])
        metric.update(self, test)  # type: ignore[arg-type]
        return metric.compute()

    def cannot(self, purpose: str, *, binary: bool) -> None:
        """It can do all."""

    def posterior_distribution(self, x: Tensor) -> Any:
        return factorised((1 - self.scale**2) ** 0.5 * x, self.scale)

    def prior_distribution(self) -> Any:
        return standard(len(self.images.mean))


@pytest.mark.parametrize("away", [0.0, 0.5])
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("information", [0.01, 1.0, 3.0, 5.0, 7.0, 15.0])
@pytest.mark.parametrize(("images", "posteriors"), [(100, 100), (200, 600)])
def test_the_truth_lies_between_the_bounds(
    images: int, posteriors: int, information: float, rho: float, away: float
) -> None:
    encoder = Encoder(information, 8, rho=rho, away=away)
    made = encoder.measure(images, posteriors)
    errors = {name: float(one.standard_error) for name, one in made.items() if one.standard_error is not None}
    for name, truth in encoder.truth().items():
        low, high = (name, f"{name}_upper") if name == "mutual_information" else (f"{name}_lower", name)
        assert made[low].value - 3 * errors[low] <= truth <= made[high].value + 3 * errors[high]
        assert abs(made[name].value - truth) <= 3 * errors[name] or made[name].caveat
    assert made["mutual_information"].value <= math.log(posteriors) + 1e-6


def test_bounds_that_say_the_same_have_no_caveat_and_those_far_apart_have_one() -> None:
    assert not any(estimate.caveat for estimate in Encoder(0.01, 4, rho=0.5, away=0.5).measure(100, 300).values())
    made = Encoder(8.0, 8).measure(100, 300)
    lower, upper = made["mutual_information"], made["mutual_information_upper"]
    assert upper.value - lower.value > 1
    assert f"between {lower.value:.3g} and {upper.value:.3g} nats" in lower.caveat
    assert {name for name, one in made.items() if one.caveat} == set(Encoder(8.0, 8).truth())
    assert "metric.aggregate_posterior.posteriors" in made["marginal_kl"].caveat


def test_validation_images_join_the_aggregate_once() -> None:
    data = few_digits()
    metric = AggregatePosterior(images=10, samples=1, posteriors=1000)
    model = untrained(data, "method=vae")
    metric.measure(inputs(data.images("test"), model=model, data=data))
    known = torch.cat([data.images("test")[10:], data.images("validation")])
    assert torch.equal(torch.cat(metric.other_images), known)
    metric.measure(inputs(data.images("validation"), model=model, data=data, split="validation"))
    assert torch.equal(torch.cat(metric.other_images), data.images("validation")[10:])


def test_codes_that_are_alike_tell_nothing_and_those_far_apart_tell_which_image_it_was() -> None:
    nothing = parts_of(torch.zeros(50, 3), 1.0)
    assert nothing == pytest.approx((0, 0, 0), abs=1e-5)
    everything, *_ = parts_of(1e3 * torch.arange(50.0)[:, None].expand(50, 3), 1.0)
    assert everything == pytest.approx(math.log(50), rel=1e-5)


def test_an_aggregate_that_is_the_prior_has_the_information_of_a_noisy_channel() -> None:
    scale = 0.5
    mean = (1 - scale**2) ** 0.5 * torch.randn(3000, 1)
    information, marginal, _ = parts_of(mean, scale)
    assert information == pytest.approx(-math.log(scale), abs=0.03)
    assert marginal == pytest.approx(0, abs=0.01)
    z = (mean + scale * torch.randn(3000, 1)).numpy()
    nearest_neighbours = mutual_info_regression(mean.numpy(), z[:, 0], random_state=0)[0]
    assert information == pytest.approx(nearest_neighbours, abs=0.06)


def test_a_shifted_and_stretched_aggregate_is_as_far_from_the_prior_as_its_gaussian() -> None:
    mean = 1.0 + 2.0 * torch.randn(3000, 1)
    _, marginal, _ = parts_of(mean, 0.5)
    variance = 4.25
    assert marginal == pytest.approx((variance + 1 - 1 - math.log(variance)) / 2, abs=0.06)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_total_correlation_is_that_of_correlated_gaussians(rho: float) -> None:
    noise = 0.4
    a, b = torch.randn(2, 2000)
    mean = (1 - noise**2) ** 0.5 * torch.stack([a, rho * a + (1 - rho**2) ** 0.5 * b], 1)
    seen = rho * (1 - noise**2)  # what the posteriors' own noise leaves of the correlation
    *_, dependence = parts_of(mean, noise)
    # The few means near each draw bias it upwards: by 0.02 where there is no correlation at all.
    assert dependence == pytest.approx(-math.log(1 - seen**2) / 2, abs=0.07)


@pytest.mark.parametrize("method", ["vae", "laplace_vae", "full_covariance_vae", "mixture_vae", "svae", "iaf_vae"])
def test_the_two_parts_add_up_to_the_rate(method: str) -> None:
    data = few_digits()
    seen = inputs(data.images("test"), model=untrained(data, f"method={method}", "latent_size=3"), data=data)
    numbers = AggregatePosterior(images=40, samples=200, posteriors=40).measure(seen).values
    rate = Rate(samples=2000).measure(seen).values["rate/test"]
    made = numbers["mutual_information/test"] + numbers["marginal_kl/test"]
    assert made == pytest.approx(rate, rel=0.03, abs=0.02)
    upper = numbers["mutual_information_upper/test"] + numbers["marginal_kl_lower/test"]
    assert upper == pytest.approx(rate, rel=0.03, abs=0.02)
    for key in ("total_correlation/test", "total_correlation_lower/test"):
        assert (key in numbers) == (method in ("vae", "laplace_vae", "mixture_vae"))


def test_units_are_active_that_vary_over_images() -> None:
    codes = torch.randn(2000, 5) * torch.tensor([1.0, 0.2, 0.05, 0.0, 3.0]) + torch.tensor([0.0, 0, 5, 7, 0])
    assert active_units(codes, 0.01).value.item() == 3
    assert active_units(codes, 0.5).value.item() == 2
    assert active_units(codes[:, :1] * 0, 0.01).value.item() == 0


def test_a_unit_is_active_whose_unbiased_variance_is_above_the_threshold() -> None:
    codes = torch.tensor([[-1.0], [0.0], [1.0]]) * torch.tensor([0.0099, 0.0101, 0.0101]).sqrt()
    made = active_units(codes, 0.01)
    assert made.value.item() == 2
    assert made.standard_error is not None
    assert made.standard_error.item() == pytest.approx(math.sqrt(3 / 4), rel=0.01), "each is as likely active as not"


def test_the_discrepancy_is_about_nothing_for_draws_of_the_prior_and_large_for_codes_far_off() -> None:
    data = few_digits()
    model: Any = untrained(data, "method=vae")
    images = data.images("test")
    metric = PriorDiscrepancy(images=1000, scales=[0.5, 2.0])

    def of_codes(codes: Tensor) -> float:
        model.posterior_distribution = lambda x: Independent(Normal(codes, 1e-6), 1)
        value: float = metric.measure(inputs(images, model=model, data=data)).values["prior_mmd/test"]
        return value

    torch.manual_seed(1)
    near = [of_codes(torch.randn(40, 8)) for _ in range(30)]
    assert abs(sum(near) / 30) < 0.005
    far = torch.randn(40, 8) + 20
    known = mmd_squared(
        far, torch.randn(40, 8), kernel="inverse_multiquadric", widths=[8.0, 32.0], estimator="unbiased"
    )
    assert of_codes(far) == pytest.approx(known.item() / 2, rel=0.05)


@pytest.mark.parametrize("prior", ["normal", "flow"])
def test_the_units_of_the_discrepancy_are_those_of_the_prior(prior: str) -> None:
    data = few_digits()
    model: Any = untrained(data, "method=vae", f"prior={prior}")
    start, found = model.prior_distribution(), []
    for scale in (0.1, 1.0, 100.0):
        scaled = TransformedDistribution(start, AffineTransform(0.0, scale, event_dim=1))
        p = scaled if prior == "flow" else Independent(Normal(torch.zeros(8), scale), 1)
        model.prior_distribution = lambda p=p: p
        model.posterior_distribution = lambda x, scale=scale: Independent(Normal(torch.zeros(len(x), 8), scale / 2), 1)
        torch.manual_seed(1)
        measured = PriorDiscrepancy(images=40, scales=[1.0]).measure(
            inputs(data.images("test"), model=model, data=data)
        )
        found.append(measured.values["prior_mmd/test"])
    assert found == pytest.approx([found[0]] * 3, rel=0.2)


def test_the_unit_of_a_prior_without_a_variance_is_the_mean_squared_distance_of_its_draws() -> None:
    p = TransformedDistribution(standard(3), AffineTransform(0.0, torch.tensor([1.0, 2.0, 3.0]), event_dim=1))
    draws = p.sample((200,))
    known = torch.pdist(draws).square().mean().item()
    assert float(expected_squared_distance(p, draws=draws)) == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize("method", options("method"))
def test_every_method_has_a_discrepancy_unless_it_cannot_encode(method: str) -> None:
    data = few_digits()
    model = untrained(data, f"method={method}")
    measured = PriorDiscrepancy(images=40, scales=[1.0]).measure(inputs(data.images("test"), model=model, data=data))
    assert bool(measured.values) == (model.cannot("encode", binary=False) is None)
    assert all(-0.1 < value < 2 for value in measured.values.values())


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("aggregate_posterior", {"images": 1}),
        ("aggregate_posterior", {"samples": 0}),
        ("aggregate_posterior", {"posteriors": 1}),
        ("active_units", {"threshold": 0}),
        ("prior_mmd", {"images": 1}),
        ("prior_mmd", {"scales": []}),
        ("prior_mmd", {"scales": [0.0]}),
    ],
)
def test_settings_that_make_no_sense_are_told(option: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^metric\.{option}\.{next(iter(settings))}="):
        part_of("metric", option, **settings)
