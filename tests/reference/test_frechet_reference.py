"""The Frechet distance against scipy's matrix root, torchmetrics' FID and answers known beforehand."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torchmetrics.image.fid import FrechetInceptionDistance

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import inputs, part_of
from latentbench.errors import UserError
from latentbench.features.base import Features
from latentbench.metrics.feature_set import SEED, canonical_order
from latentbench.metrics.frechet_distance import (
    FrechetDistance,
    Reference,
    frechet_distance,
    influence,
    make_reference,
    moments,
    pivoted_root,
)
from latentbench.metrics.frechet_distance_infinity import FrechetDistanceInfinity, frechet_distance_infinity

SIZES = [100, 150, 200, 250, 300]


def gaussian(size: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """A random mean and covariance of the given rank."""
    factor = torch.randn(size, rank or 2 * size, dtype=torch.float64)
    return torch.randn(size, dtype=torch.float64), factor @ factor.T / factor.shape[1]


def by_matrix_root(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the root of the unsymmetric product by Schur's method."""
    root = scipy.linalg.sqrtm((c1 @ c2).numpy())
    return float((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * np.trace(root).real)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_it_is_the_formula_with_scipys_matrix_root(size: int) -> None:
    one, other = gaussian(size), gaussian(size)
    # Two algorithms in double precision.
    assert frechet_distance(*one, *other).item() == pytest.approx(by_matrix_root(*one, *other), rel=1e-7)


def test_it_is_the_known_answer_where_covariances_share_their_axes_even_singular_ones() -> None:
    axes = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    spread1 = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    spread2 = torch.tensor([1.0, 0.0, 2.0, 0.5, 4.0, 0.0], dtype=torch.float64)
    shift = torch.arange(6, dtype=torch.float64)
    covariance1, covariance2 = ((axes * s**2) @ axes.T for s in (spread1, spread2))
    known = (spread1 - spread2).square().sum() + shift.square().sum()
    made = frechet_distance(torch.zeros(6), covariance1, shift, covariance2)
    # An eigenvalue that should be 0 is 1e-16 times the largest or so, and its root 1e-8.
    assert made.item() == pytest.approx(known.item(), abs=1e-6)


@pytest.mark.parametrize("rank", [3, None], ids=["singular", "regular"])
def test_it_is_symmetric_and_zero_only_between_equals(rank: int | None) -> None:
    one, other = gaussian(20, rank), gaussian(20, rank)
    assert frechet_distance(*one, *other).item() == pytest.approx(frechet_distance(*other, *one).item(), rel=1e-6)
    assert 0 <= frechet_distance(*one, *one).item() < 1e-5
    assert frechet_distance(*one, *other).item() > 1


@pytest.mark.parametrize("rank", [0, 1, 7, 20])
def test_a_covariances_factor_has_as_many_columns_as_its_rank(rank: int) -> None:
    rows = torch.randn(20, rank, dtype=torch.float64) * 100
    root = pivoted_root(rows @ rows.T)
    assert root.shape == (20, rank)
    torch.testing.assert_close(root @ root.T, rows @ rows.T, rtol=1e-9, atol=1e-9)


def test_moments_are_numpys() -> None:
    rows = torch.randn(9, 4) + 5
    mean, covariance = moments(rows)
    np.testing.assert_allclose(mean, rows.double().numpy().mean(0))
    np.testing.assert_allclose(covariance, np.cov(rows.double().numpy().T), rtol=1e-10, atol=1e-12)


class ForTorchmetrics(nn.Module):
    """The features in the shape that torchmetrics asks for."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features, self.num_features = features, features.size

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


@pytest.mark.parametrize("n", [30, 300], ids=["fewer images than features", "more"])
def test_fid_is_that_of_torchmetrics_with_the_same_features(n: int) -> None:
    data = few_digits(n)
    features = part_of("features", "classifier", data_name="digits", shape=data.shape)
    real, made = data.images("test"), 0.7 * avg_pool2d(data.images("train"), 3, stride=1, padding=1)
    given = inputs(real, features=features, images={"prior": made, "real": real})
    found = FrechetDistance().measure(given)
    numbers, caveats = found.values, found.caveats

    theirs = FrechetInceptionDistance(feature=ForTorchmetrics(features), normalize=True)
    theirs.update(real, real=True)
    theirs.update(made, real=False)
    # Theirs takes the roots of an unsymmetric matrix's eigenvalues and keeps what rounding leaves of those near 0.
    assert numbers["fid/prior"] == pytest.approx(theirs.compute().item(), rel=1e-3)
    assert numbers["fid/prior"] > 10
    assert numbers["fid/real"] == pytest.approx(0, abs=1e-3), "the very same images"
    assert set(caveats) == ({"fid/prior", "fid/real"} if n < features.size else set())


def test_fid_of_draws_of_two_gaussians_comes_to_what_their_moments_say() -> None:
    (mean1, covariance1), (mean2, covariance2) = gaussian(4), gaussian(4)
    one, other = (
        mean + torch.randn(100_000, 4, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
        for mean, covariance in ((mean1, covariance1), (mean2, covariance2))
    )
    known = frechet_distance(mean1, covariance1, mean2, covariance2).item()
    # Five standard errors of 100,000 draws of a distance of order 10.
    assert frechet_distance(*moments(one), *moments(other)).item() == pytest.approx(known, rel=0.02)


def test_the_error_of_fid_is_that_of_leaving_out_one_image_of_either_set_at_a_time() -> None:
    sets = [torch.rand(150, 1, 1, 3) ** 2, torch.rand(60, 1, 1, 3)]
    features = part_of("features", "pixels", data_name="digits", shape=(1, 1, 3))
    found = FrechetDistance().measure(inputs(sets[1], features=features, images={"prior": sets[0]}))
    of_sets = [moments(images.flatten(1)) for images in sets]
    squares = []
    for i, images in enumerate(sets):
        left = [moments(torch.cat([images[:j], images[j + 1 :]]).flatten(1)) for j in range(len(images))]
        without = [frechet_distance(*one, *of_sets[1 - i]).item() for one in left]
        squares.append((len(images) - 1) * np.var(without))
    assert min(squares) > 0.1 * max(squares), "or one set is not tested"
    # The two differ by terms of order 1 / N.
    assert found.standard_errors["fid/prior"] == pytest.approx(math.sqrt(sum(squares)), rel=0.06)


# Extrapolated to infinitely many images


def draws(n: int, size: int, shift: float = 0.1) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mean and covariance of a Gaussian, n draws of another, and the distance of the two."""
    spread = torch.logspace(0, -1, size, dtype=torch.float64)
    other = spread * torch.linspace(0.7, 1.3, size, dtype=torch.float64)
    rows = shift + torch.randn(n, size, dtype=torch.float64) * other
    known = size * shift**2 + (spread - other).square().sum().item()
    return torch.zeros(size, dtype=torch.float64), torch.diag(spread**2), rows, known


def known_reference(mean: Tensor, covariance: Tensor) -> Reference:
    """A reference of known moments, which adds nothing to an error."""
    return Reference(mean, pivoted_root(covariance), *torch.zeros(2, 1, len(mean), dtype=torch.float64))


@pytest.mark.parametrize("n", [15, 200], ids=["fewer images than features", "more"])
def test_the_influence_of_an_image_is_the_derivative_by_its_weight(n: int) -> None:
    x, other = torch.randn(n, 20, dtype=torch.float64), torch.randn(300, 20, dtype=torch.float64) * 1.3 + 0.2
    of_set, of_reference = influence(x, make_reference(other))

    def distance(weights: Tensor, weights_of_other: Tensor) -> float:
        moments_of = []
        for rows, given in ((x, weights), (other, weights_of_other)):
            shares = given / given.sum()
            mean = shares @ rows
            unbiased = len(rows) / (len(rows) - 1)
            moments_of += [mean, unbiased * (rows - mean).T @ (shares[:, None] * (rows - mean))]
        return frechet_distance(*moments_of).item()

    for made, weights, alone in ((of_set, 0, n), (of_reference, 1, 300)):
        found = []
        for i in range(6):
            sides = []
            for sign in (1, -1):
                given = [torch.ones(n, dtype=torch.float64), torch.ones(300, dtype=torch.float64)]
                given[weights][i] += sign * 1e-4
                sides.append(distance(*given))
            found.append((sides[0] - sides[1]) / 2e-4 * alone)
        derivatives = torch.tensor(found, dtype=torch.float64)
        torch.testing.assert_close(made[:6], derivatives, rtol=2 / n, atol=0.01)  # the covariance's n - 1 is left out


def test_the_extrapolated_distance_has_not_the_bias_and_varies_as_its_error_says() -> None:
    plain, found, errors = [], [], []
    for _ in range(150):
        mean, covariance, rows, known = draws(300, 30)
        plain.append(frechet_distance(mean, covariance, *moments(rows)).item())
        value, error = frechet_distance_infinity(known_reference(mean, covariance), rows, SIZES)
        found.append(value.item())
        errors.append(error.item())
    spread = np.std(found, ddof=1)
    bias = np.mean(plain) - known
    assert bias > 10 * np.std(plain) / 150**0.5, "there is a bias to take away"
    assert abs(np.mean(found) - known) < 0.3 * bias, "with so few images the line is a little bent"
    # A standard deviation of 150 numbers is known to 6 %; the error is to first order.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.25)


def test_the_line_is_that_of_least_squares_through_the_distances_of_the_subsets() -> None:
    mean, covariance, rows, _ = draws(300, 10)
    generator = torch.Generator().manual_seed(SEED)
    subsets = [rows[canonical_order(rows)][torch.randperm(300, generator=generator)[:n]] for n in SIZES]
    distances = [frechet_distance(mean, covariance, *moments(subset)).item() for subset in subsets]
    value, _ = frechet_distance_infinity(known_reference(mean, covariance), rows, SIZES)
    assert value.item() == pytest.approx(np.polyfit(1 / np.array(SIZES), distances, 1)[1], rel=1e-9)


@pytest.mark.parametrize("size", [1, 20])
def test_the_subsets_are_the_same_in_whichever_order_the_images_come(size: int) -> None:
    mean, covariance, rows, _ = draws(200, size)
    rows = torch.cat([rows, rows[:50]])  # with copies
    sizes = [60, 120, 250]
    one = frechet_distance_infinity(known_reference(mean, covariance), rows, sizes)
    other = frechet_distance_infinity(known_reference(mean, covariance), rows[torch.randperm(250)], sizes)
    for a, b in zip(one, other, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-9)


def test_sizes_go_evenly_from_a_tenth_or_two_images_per_feature_to_all() -> None:
    metric: FrechetDistanceInfinity = part_of("metric", "fid_infinity")
    assert metric.subset_sizes(50_000, 64) == [round(5000 + i * 45_000 / 14) for i in range(15)], "the paper's"
    assert metric.subset_sizes(360, 64)[0] == 128
    assert metric.subset_sizes(360, 2048) == [round(180 + i * 180 / 14) for i in range(15)]
    assert metric.subset_sizes(4, 64) == [2, 3, 4]


def test_it_warns_where_subsets_have_too_few_images_for_a_line() -> None:
    data = few_digits(100)
    features = part_of("features", "pixels", data_name="digits", shape=data.shape)
    given = inputs(data.images("test"), features=features, images={"real": data.images("validation")})
    found = part_of("metric", "fid_infinity").measure(given)
    numbers, caveats = found.values, found.caveats
    assert set(numbers) == set(caveats) == {"fid_infinity/real"}
    assert "50 images" in caveats["fid_infinity/real"]
    few = part_of("metric", "fid_infinity", images_per_feature=0.5).measure(given)
    assert not few.caveats


@pytest.mark.parametrize(
    ("key", "value"),
    [("subsets", 2), ("subsets", 3.5), ("smallest", 0), ("smallest", 0.6), ("images_per_feature", -1)],
)
def test_settings_that_make_no_line_are_refused(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"metric.fid_infinity.{key}={value}: give a"):
        part_of("metric", "fid_infinity", **{key: value})
