"""Precision, recall, density and coverage of an image set, from nearest neighbours (PRDC)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.features.cache import cached
from latentbench.metrics.blocks import block_size
from latentbench.metrics.feature_set import FeatureSetMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity, share_variance, standard_error

ROWS = 50  # vectors whose distances to all others are in memory at once: 4 MB for 10,000 others
# Squared distances that differ by less than this, relative to the largest squared norm, count as equal. Because of
# rounding, copies do not have a distance of exactly 0, and equal distances differ.
ROUNDING = 1e-12


class Overlap(NamedTuple):
    """How two sets overlap; scalars."""

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def precision_recall_density_coverage(real: Tensor, generated: Tensor, k: int) -> Overlap:
    """How much of `generated` lies where `real` lies, and vice versa.

    B(v, V): the closed ball around v that reaches to its k-th nearest neighbour in V
    precision = share of generated y that lie in the ball B(x, real) of at least one real x
    recall = share of real x that lie in the ball B(y, generated) of at least one generated y
    density = 1/k times the mean number of balls B(x, real) in which a generated y lies
    coverage = share of real x whose ball B(x, real) contains a generated y

    Shape: real (N, F), generated (M, F), N and M more than k; computed in float64, in memory that does not grow with N
    M.
    Source: Kynkaanniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, section 3.2. Where we differ: the package
    prdc uses open balls, so that copies of an image that occurs more than k times lie outside each other's balls.
    """
    estimates = neighbourhood_estimates(real, squared_radii(real, k), generated, k)
    return Overlap(*(estimate.value for estimate in estimates.values()))


def squared_radii(vectors: Tensor, k: int) -> Tensor:
    """Squared distance (N,) from each of the vectors (N, F) to its k-th nearest neighbour among the others."""
    centred = vectors.double() - vectors.double().mean(0)
    radii = centred.square().sum(1)
    for rows, distances in _distance_blocks(centred, centred):
        radii[rows] += distances.topk(k + 1, largest=False).values[:, k]
    return radii.clamp(min=0)


def neighbourhood_estimates(real: Tensor, radii: Tensor, generated: Tensor, k: int) -> dict[str, Estimate]:
    """precision_recall_density_coverage with standard errors, given the squared radii of the real vectors; float64.

    A standard error has two parts: the sampling of the vectors that may lie in a ball, and the sampling of the balls,
    by a jackknife with fixed radii.
    """
    generated_radii = squared_radii(generated, k)
    real, generated = real.double() - real.double().mean(0), generated.double() - real.double().mean(0)
    squares = real.square().sum(1)
    rounding = ROUNDING * torch.maximum(squares.max(), generated.square().sum(1).max())
    # For each vector: the number of balls that contain it (for coverage: the number of vectors in its ball), and the
    # sum of their indices. Both are products with a matrix of ones and indices.
    of_real, of_generated = (
        torch.stack([torch.ones(len(vectors)), torch.arange(len(vectors))], 1).to(vectors)
        for vectors in (real, generated)
    )
    real_balls = generated.new_zeros(len(generated), 2)
    members, generated_balls = (generated.new_zeros(len(real), 2) for _ in range(2))
    is_inside = real.new_empty(block_size(ROWS, real), len(generated))
    for rows, distances in _distance_blocks(real, generated):
        inside = is_inside[: len(distances)]
        torch.le(distances, (radii[rows] - squares[rows] + rounding)[:, None], out=inside)
        real_balls += inside.T @ of_real[rows]
        members[rows] = inside @ of_generated
        torch.le(distances.sub_(generated_radii), (rounding - squares[rows])[:, None], out=inside)
        generated_balls[rows] = inside @ of_generated
    density = real_balls[:, 0] / k
    density_by_ball = members[:, 0] * (len(real) / (k * len(generated)))  # has the same mean
    return {
        "precision": _covered_share(real_balls, len(real)),
        "recall": _covered_share(generated_balls, len(generated)),
        "density": Estimate(density.mean(), torch.hypot(standard_error(density), standard_error(density_by_ball))),
        "coverage": _covered_share(members, len(generated)),
    }


def _covered_share(balls: Tensor, n: int) -> Estimate:
    """Share of vectors that lie in at least one of n balls.

    balls: (N, 2), for each vector the number of balls that contain it, and the sum of their indices
    """
    count, index = balls.T
    share = (count > 0).double().mean()
    lost = index[count == 1].long().bincount(minlength=n).double() / len(balls)  # share lost without each ball
    ball_variance = (lost - lost.mean()).square().sum() * (n - 1) / n
    return Estimate(share, (share_variance(share, len(balls)) + ball_variance).sqrt())


def _distance_blocks(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of points (N, F), and their squared distances to all others (M, F) minus |point|^2, (ROWS, M).

    Every block is written to the same memory: allocating and freeing arrays of this size fragments the heap.
    """
    squares = others.square().sum(1)
    size = block_size(ROWS, points)
    memory = points.new_empty(size, len(others))
    for start in range(0, len(points), size):
        block = points[start : start + size]
        torch.addmm(squares, block, others.T, alpha=-2, out=memory[: len(block)])
        yield slice(start, start + len(block)), memory[: len(block)]


class PrecisionRecallDensityCoverage(FeatureSetMetric):
    """`precision/<set>`, `recall/<set>`, `density/<set>` and `coverage/<set>`, between the features of a set and those
    of as many test images.

    `precision/<sampler>` estimates the probability that a latent from this sampler decodes to an image like those of
    the data: it is the share of samples close to at least one real image. The large ball of a single outlier may
    contain many samples. `density` depends less on outliers, because it counts all balls that contain a sample.
    `recall` and `coverage` are shares of the real images that samples come close to.

    Samples in the middle of the data, such as blurred ones, lie in many balls: a precision above `precision/real` or a
    density above 1 is not better, and beside a low recall it is a sign of blur. With few images the balls are large,
    and almost everything lies in one: compare only values for the same number of images, features and k. For equal
    distributions density is 1 and coverage, for many images, 1 - 2^-k (Naeem et al. 2020). Real validation images are
    the floor of all four.
    Raises: UserError if k is not a whole number, 1 or more.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "precision": Quantity("of samples", higher_is_better=None),
        "recall": Quantity("of real", higher_is_better=True),
        "density": Quantity("", higher_is_better=None),
        "coverage": Quantity("of real", higher_is_better=True),
    }

    def __init__(self, *, k: int) -> None:
        super().__init__()
        self.k = check_whole_number("metric.prdc.k", k, minimum=1)
        self.min_images = k + 1

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.real = inputs.reference_features
        (self.radii,) = cached(f"radii {self.k}", [self.real], lambda: [squared_radii(self.real, self.k)])

    def compute(self) -> dict[str, Estimate]:
        return neighbourhood_estimates(self.real, self.radii, self.all_features(), self.k)
