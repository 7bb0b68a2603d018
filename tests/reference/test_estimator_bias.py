"""Estimates of numbers known in closed form: off by three standard errors at most, and by what is said of their bias.

Over a few draws, so that it is the bias that is tested; the standard error is that of a single one.
"""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Independent, Normal

from latentbench.contracts.images import data_set, few_digits
from latentbench.contracts.options import inputs, part_of
from latentbench.metrics import known_factors
from latentbench.metrics.active_units import active_units
from latentbench.metrics.frechet_distance import frechet_distance, influence, make_reference, moments, pivoted_root
from latentbench.metrics.frechet_distance_infinity import frechet_distance_infinity
from latentbench.metrics.kernel_distance import kernel_distance
from latentbench.metrics.measurements import Estimate
from latentbench.metrics.nearest_neighbour_ratio import nearest, ratio_of_distances
from latentbench.metrics.parzen import ParzenWindow
from latentbench.metrics.precision_recall_density_coverage import neighbourhood_estimates, squared_radii
from latentbench.metrics.prior_discrepancy import PriorDiscrepancy

DRAWS = 3
VALUES = (3, 4, 5)
CHANCE = sum(1 / n for n in VALUES) / len(VALUES)


def bias_and_error(estimates: list[Estimate], truth: float) -> tuple[float, float]:
    """How far the mean is from the truth, and the standard error of a single estimate."""
    errors = [float(one.standard_error) for one in estimates if one.standard_error is not None]
    assert len(errors) == len(estimates)
    bias = sum(float(one.value) for one in estimates) / len(estimates) - truth
    return bias, math.sqrt(sum(error**2 for error in errors) / len(errors))


def assert_unbiased(estimates: list[Estimate], truth: float, *, stated: float = 0.0) -> None:
    bias, error = bias_and_error(estimates, truth)
    assert abs(bias) <= 3 * error + stated


# Scores of codes

CODES = {
    "useless": ({"mig": 0.0, "sap": 0.0, "factor_vae_score": 1 / 3, "dci_informativeness": CHANCE}, 0, 3),
    "perfect": ({"mig": 1.0, "sap": 1 - CHANCE, "factor_vae_score": 1.0, "dci_informativeness": 1.0}, 3, 0),
    "perfect, and some that say nothing": (
        {"mig": 1.0, "sap": 1 - CHANCE, "factor_vae_score": 1.0, "dci_disentanglement": 1.0, "dci_completeness": 1.0},
        3,
        3,
    ),
    "one of three": ({"mig": 1 / 3, "sap": (1 - 1 / 3) / 3}, 1, 3),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "dci": {"trees": 5, "leaves": [8]},
    "factor_vae_score": {"images": 32, "votes": 500, "judged": 500},
}


@pytest.mark.parametrize("images", [200, 1000])
@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("option", ["mig", "sap", "factor_vae_score", "dci"])
def test_scores_of_codes_that_are_known(option: str, codes: str, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_factors, "HALVES", 4)
    metric = part_of("metric", option, **SETTINGS.get(option, {}))
    truths, shown, useless = CODES[codes]
    made = []
    for _ in range(DRAWS):
        factors = torch.stack([torch.randint(n, (images,)) for n in VALUES], 1)
        metric.reset()
        metric.update(torch.cat([factors[:, :shown].float(), torch.randn(images, useless)], 1), factors)
        made.append(metric.compute())
    for name in truths.keys() & metric.quantities.keys():
        caveat = made[0][name].caveat
        assert bool(caveat) == (name == "mig" and images == 200)
        stated = float(caveat.split("by up to ")[1].split(";")[0]) if caveat else 0.0
        assert_unbiased([one[name] for one in made], truths[name], stated=stated)


def test_more_values_than_bins_have_a_caveat_with_the_highest_score() -> None:
    factors = torch.stack([torch.randint(n, (4000,)) for n in (3, 40)], 1)
    metric = part_of("metric", "mig", bins=20)
    metric.update(factors.float(), factors)
    made = metric.compute()["mig"]
    assert "mig is at most about 0.91" in made.caveat
    assert 0.85 < made.value.item() < 0.91


# Distances between sets

SETS = [(1.0, 0.0), (0.5, 0.0), (2.0, 0.0), (1.0, 0.5), (0.05, 1.0)]  # scale and shift beside those of real images


@pytest.mark.parametrize("n", [60, 360])
@pytest.mark.parametrize(("scale", "shift"), SETS)
def test_fid_is_too_high_by_no_more_than_its_floor_for_sets_as_varied_as_real_ones(
    scale: float, shift: float, n: int
) -> None:
    size = 16
    spread = torch.linspace(2, 0.3, size)
    truth = ((scale - 1) * spread).square().sum().item() + size * shift**2
    plain, infinite, floors = [], [], []
    for _ in range(DRAWS):
        real, other, generated = (torch.randn(n, size) * spread for _ in range(3))
        generated = scale * generated + shift
        reference = make_reference(real)
        parts = influence(generated.double(), reference)
        error = torch.hypot(parts[0].norm() / n, parts[1].norm() / n)
        plain.append(Estimate(frechet_distance(*moments(real), *moments(generated)), error))
        sizes = torch.linspace(n // 2, n, 15).round().int().tolist()
        infinite.append(Estimate(*frechet_distance_infinity(reference, generated, sizes)))
        floors.append(frechet_distance(*moments(real), *moments(other)).item())
    stated = sum(floors) / DRAWS * max(1.0, scale)
    assert_unbiased(plain, truth, stated=stated)
    assert_unbiased(infinite, truth, stated=stated)
    assert bias_and_error(plain, truth)[0] > -bias_and_error(plain, truth)[1], "never too low"


@pytest.mark.parametrize("n", [360, 1000, 10_000])
@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0, 0.0])
def test_fid_of_features_like_the_digits_is_too_high_by_no_more_than_the_floor_of_independent_draws(
    scale: float, n: int
) -> None:
    data = data_set("digits")
    features = part_of("features", "classifier", data_name="digits", shape=data.shape)
    _, covariance = moments(features(data.expected_images("test")))
    root = pivoted_root(covariance).T
    truth = (scale - 1) ** 2 * covariance.trace().item()
    made, floors = [], []
    for _ in range(DRAWS):
        real, other, generated = (torch.randn(n, len(root), dtype=torch.float64) @ root for _ in range(3))
        parts = influence(scale * generated, make_reference(real))
        error = torch.hypot(parts[0].norm() / n, parts[1].norm() / n)
        made.append(Estimate(frechet_distance(*moments(real), *moments(scale * generated)), error))
        floors.append(frechet_distance(*moments(real), *moments(other)).item())
    assert_unbiased(made, truth, stated=sum(floors) / DRAWS * max(1.0, scale))


@pytest.mark.parametrize("size", [2, 64])
@pytest.mark.parametrize("n", [20, 360])
def test_density_and_coverage_of_draws_of_one_distribution_are_unbiased(n: int, size: int) -> None:
    k = 5
    made = []
    for _ in range(DRAWS):
        real, generated = torch.randn(2, n, size)
        made.append(neighbourhood_estimates(real, squared_radii(real, k), generated, k))
    assert_unbiased([one["density"] for one in made], 1.0)
    # Naeem et al. 2020: the k nearest of the 2 n - 1 other images are not all real.
    all_real = math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert_unbiased([one["coverage"] for one in made], 1 - all_real)


def test_parzen_of_a_perfect_model_is_too_low_the_more_so_the_fewer_samples_and_the_more_dimensions() -> None:
    scale, biases = 0.3, []
    metric: ParzenWindow = part_of("metric", "parzen")
    for size, n in ((1, 1500), (16, 1500), (64, 1500), (64, 100)):
        made, smoothed = [], []
        for _ in range(DRAWS):
            metric.reset()
            metric.test, metric.validation = scale * torch.randn(2, 300, size)
            metric.update(scale * torch.randn(n, size))
            found = metric.compute()
            made.append(found["parzen"])
            # In expectation over samples the window is the density of the images with noise of the bandwidth.
            variance = scale**2 + found["parzen_bandwidth"].value.item() ** 2
            smoothed.append(-size / 2 * (math.log(2 * math.pi * variance) + scale**2 / variance))
        bias, error = bias_and_error(made, sum(smoothed) / DRAWS)
        assert bias < 3 * error, "its logarithm is lower in expectation"
        assert (bias > -3 * error) == (size == 1), "by little where samples are dense"
        biases.append(bias_and_error(made, -size / 2 * math.log(2 * math.pi * math.e * scale**2))[0])
    assert biases == sorted(biases, reverse=True)


@pytest.mark.parametrize("n", [30, 360])
@pytest.mark.parametrize(("scale", "shift"), SETS)
def test_kid_is_unbiased(scale: float, shift: float, n: int) -> None:
    def similarity(*laws: tuple[float, float]) -> float:
        """E (a b + 1)^3 of one feature."""
        a, b = ([norm.moment(order, loc=mean, scale=deviation) for order in (1, 2, 3)] for deviation, mean in laws)
        return float(1 + 3 * a[0] * b[0] + 3 * a[1] * b[1] + a[2] * b[2])

    real, generated = (1.0, 0.0), (scale, shift)
    truth = similarity(real, real) + similarity(generated, generated) - 2 * similarity(real, generated)
    made = [Estimate(*kernel_distance(scale * torch.randn(n, 1) + shift, torch.randn(n, 1))) for _ in range(DRAWS)]
    assert_unbiased(made, truth)


@pytest.mark.parametrize("n", [30, 360])
@pytest.mark.parametrize("size", [2, 16])
@pytest.mark.parametrize(("scale", "shift"), SETS)
def test_prior_mmd_is_unbiased(scale: float, shift: float, size: int, n: int) -> None:
    scales = [0.1, 1.0, 10.0]

    def similarity(one: tuple[float, float], other: tuple[float, float]) -> float:
        """E C / (C + d^2) = int_0^1 E exp(d^2 log(u) / C) du of d^2 between draws of two normal distributions."""
        variance, distance = one[0] ** 2 + other[0] ** 2, size * (one[1] - other[1]) ** 2

        def integrand(u: float, width: float) -> float:
            t = -math.log(u) / width
            return float((1 + 2 * t * variance) ** (-size / 2) * math.exp(-t * distance / (1 + 2 * t * variance)))

        return sum(float(quad(integrand, 0, 1, args=(of * 2 * size,))[0]) for of in scales) / len(scales)

    p, q = (1.0, 0.0), (scale, shift)
    truth = similarity(p, p) + similarity(q, q) - 2 * similarity(p, q)
    model: Any = SimpleNamespace(
        prior_distribution=lambda: Independent(Normal(torch.zeros(size), 1.0), 1),
        posterior_distribution=lambda x: Independent(Normal(torch.full((len(x), size), shift), scale), 1),
    )
    metric = PriorDiscrepancy(images=n, scales=scales)
    made = []
    for _ in range(DRAWS):
        metric.reset()
        metric.update(model, torch.zeros(n, 1))
        made.append(metric.compute()["prior_mmd"])
    assert_unbiased(made, truth)


# Copies and active units


@pytest.mark.parametrize("n", [50, 360])
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.0])
def test_samples_that_know_neither_set_are_no_copies(scale: float, n: int) -> None:
    def estimate(samples: Tensor, training: Tensor, held_out: Tensor) -> Estimate:
        return ratio_of_distances(nearest(samples, training), nearest(samples, held_out), n)

    made = [estimate(scale * torch.randn(n, 8), *torch.randn(2, n, 8)) for _ in range(DRAWS)]
    assert_unbiased(made, 1.0)


def test_copies_of_images_that_are_not_compared_are_told() -> None:
    data = few_digits(100)
    test, copies = data.images("test"), data.images("train")
    for compared in (20, 100):
        found = part_of("metric", "memorization").measure(inputs(test[:compared], data=data, images={"prior": copies}))
        caveat = found.caveats.get("memorization/prior", "")
        assert bool(caveat) == (compared < 100)
        if caveat:
            assert found.values["memorization/prior"] == pytest.approx(0.8, abs=0.1)
            assert caveat.startswith("compared with 20 of 100 training images")
            assert caveat.endswith("a model that only copies scores about 0.80")
    data.flip = True
    found = part_of("metric", "memorization").measure(inputs(test, data=data, images={"prior": copies}))
    assert "copies of mirrored ones are not seen" in found.caveats["memorization/prior"]


@pytest.mark.parametrize("n", [50, 360])
@pytest.mark.parametrize("near", [0.5, 0.9, 1.1, 2.0])
def test_active_units_near_the_threshold_are_known_within_their_error(near: float, n: int) -> None:
    variances = torch.tensor([1.0, 1.0, *[0.01 * near] * 4, 1e-4])
    made = [active_units(torch.randn(n, 7) * variances.sqrt(), 0.01) for _ in range(DRAWS)]
    assert_unbiased(made, float((variances > 0.01).sum()))
