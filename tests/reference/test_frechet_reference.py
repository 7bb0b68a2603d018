"""The Frechet distance against scipy's matrix root, torchmetrics' FID and answers known beforehand."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torchmetrics.image.fid import FrechetInceptionDistance

from latentbench.features.base import Features
from latentbench.metrics.frechet_distance import FrechetDistance, frechet_distance, moments
from options import evidence, few_digits, part_of


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


def test_moments_are_numpys() -> None:
    rows = torch.randn(9, 4, dtype=torch.float64) + 5
    mean, covariance = moments(rows.sum(0), rows.T @ rows, torch.tensor(9.0))
    np.testing.assert_allclose(mean, rows.numpy().mean(0))
    np.testing.assert_allclose(covariance, np.cov(rows.numpy().T), rtol=1e-10, atol=1e-12)


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
    numbers, *_ = FrechetDistance().measure(evidence(real, features=features, images={"prior": made, "real": real}))

    theirs = FrechetInceptionDistance(feature=ForTorchmetrics(features), normalize=True)
    theirs.update(real, real=True)
    theirs.update(made, real=False)
    # Theirs takes the roots of an unsymmetric matrix's eigenvalues and keeps what rounding leaves of those near 0.
    assert numbers["fid/prior"] == pytest.approx(theirs.compute().item(), rel=1e-3)
    assert numbers["fid/prior"] > 10
    assert numbers["fid/real"] == pytest.approx(0, abs=1e-3), "the very same images"


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_size_of_batches_does_not_matter(batch: int) -> None:
    data = few_digits(300)
    features = part_of("features", "classifier", data_name="digits", shape=data.shape)
    metric = FrechetDistance()
    metric.prepare(evidence(data.images("test"), features=features))
    values = []
    for size in (100, batch):
        metric.reset()
        for images in data.images("train").split(size):
            metric.update(images)
        values.append(metric.compute()["fid"].item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)  # the features are of single precision
