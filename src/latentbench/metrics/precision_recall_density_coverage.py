"""Precision, recall, density and coverage of a set of images, by nearest neighbours."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.features.cache import cached
from latentbench.metrics.base import Estimate, MetricInputs, Quantity, standard_error
from latentbench.metrics.feature_set import FeatureSetMetric

ROWS = 250  # vectors whose distances to all others are held at once
# Squared distances that differ by less than this, in units of the largest squared length, are equal: rounding leaves
# no copy at a distance of exactly 0, and no two equal distances equal.
ROUNDING = 1e-12


class Neighbourhood(NamedTuple):
    """How a set lies among another."""

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def precision_recall_density_coverage(real: Tensor, made: Tensor, k: int) -> Neighbourhood:
    """How much of `made` lies where `real` lies, and the other way round.

    B(v, V): the ball around v that reaches to its k-th nearest neighbour in V, the border included
    precision = share of the made y that lie in the ball B(x, real) of at least one real x
    recall = share of the real x that lie in the ball B(y, made) of at least one made y
    density = 1/k times the number of balls B(x, real) that a made y lies in, in the mean
    coverage = share of the real x whose ball B(x, real) has a made y in it

    Shape: real (N, F), made (M, F), N and M more than k; computed in float64, in memory that does not grow with N M.
    Source: Kynkaanniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, section 3.2. The package prdc leaves the
    border out, so that copies of images which are there more than k times lie outside of each other's balls.
    """
    return Neighbourhood(*(estimate.value for estimate in among(real, squared_radii(real, k), made, k).values()))


def squared_radii(vectors: Tensor, k: int) -> Tensor:
    """Squared distance (N,) of each of (N, F) vectors to its k-th nearest neighbour among them, itself not counted."""
    centred = vectors.double() - vectors.double().mean(0)
    radii = centred.square().sum(1)
    for rows, distances in _blocks(centred, centred):
        radii[rows] += distances.topk(k + 1, largest=False).values[:, k]
    return radii.clamp(min=0)


def among(real: Tensor, radii: Tensor, made: Tensor, k: int) -> dict[str, Estimate]:
    """The same with standard errors, the squared radii of the real vectors known; float64.

    An error has two parts: of other vectors that are asked whether a ball has them, and of other balls, by leaving out
    one at a time (radii as they are).
    """
    made_radii = squared_radii(made, k)
    real, made = real.double() - real.double().mean(0), made.double() - real.double().mean(0)
    squares = real.square().sum(1)
    rounding = ROUNDING * torch.maximum(squares.max(), made.square().sum(1).max())
    # How many balls each made vector lies in, and each real one; the last of each, which is the only one of one.
    around_real, last_real = (made.new_zeros(len(made)) for _ in range(2))
    within_real, around_made, last_within, last_made = (made.new_zeros(len(real)) for _ in range(4))
    for rows, distances in _blocks(real, made):
        inside = distances <= (radii[rows] - squares[rows] + rounding)[:, None]
        around_real += inside.sum(0)
        last_real = torch.where(inside.any(0), rows.start + inside.int().argmax(0), last_real)
        within_real[rows] = inside.sum(1).double()
        last_within[rows] = inside.int().argmax(1).double()
        near = distances.sub_(made_radii) <= (rounding - squares[rows])[:, None]
        around_made[rows] = near.sum(1).double()
        last_made[rows] = near.int().argmax(1).double()
    density = around_real / k
    of_balls = within_real * (len(real) / (k * len(made)))  # the same mean
    return {
        "precision": _share(around_real, last_real, len(real)),
        "recall": _share(around_made, last_made, len(made)),
        "density": Estimate(density.mean(), torch.hypot(standard_error(density), standard_error(of_balls))),
        "coverage": _share(within_real, last_within, len(made)),
    }


def _share(balls: Tensor, last: Tensor, n: int) -> Estimate:
    """Share of vectors that lie in one or more of n balls, their numbers of balls (N,) and the last of them given.

    The first part of its error is that of (x + 2) / (N + 4), x of N, which none and all do not make 0 (Agresti & Coull
    1998).
    """
    share = (balls > 0).double().mean()
    middling = (share * len(balls) + 2) / (len(balls) + 4)
    lost = last[balls == 1].long().bincount(minlength=n).double() / len(balls)  # without each ball
    of_balls = (lost - lost.mean()).square().sum() * (n - 1) / n
    return Estimate(share, (middling * (1 - middling) / (len(balls) + 4) + of_balls).sqrt())


def _blocks(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some of the points at a time, and their squared distances to the others less the points' own squares.

    All in one piece of memory: pieces of this size given back and asked for again leave holes that nothing fits in.
    """
    squares = others.square().sum(1)
    memory = points.new_empty(ROWS, len(others))
    for start in range(0, len(points), ROWS):
        some = points[start : start + ROWS]
        torch.addmm(squares, some, others.T, alpha=-2, out=memory[: len(some)])
        yield slice(start, start + len(some)), memory[: len(some)]


class PrecisionRecallDensityCoverage(FeatureSetMetric):
    """`precision/<set>`, `recall/<set>`, `density/<set>` and `coverage/<set>` in the given features, against as many
    test images.

    `precision/<sampler>` is the share of decoded latents that lie on the manifold of the data, as its images show it:
    how likely it is that a latent so picked decodes to something of the data's kind. `density` counts in how many
    images' neighbourhoods they lie, so that a few odd images do not vouch for everything near them. `recall` and
    `coverage` are the share of the data that samples come near.

    Samples in the middle of the data, as blurred ones are, lie in many balls: precision above `precision/real` or a
    density above 1 is no virtue, and with low recall a sign of it. Few images have large balls, which hardly anything
    misses: values are of this number of images, these features and this k. Equal distributions have density 1 and, of
    many images, coverage 1 - 2^-k (Naeem et al. 2020); real validation images are the floor of all four.
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

    def prepare(self, inputs: MetricInputs) -> None:
        """The balls around the reference's features."""
        self.real = inputs.reference_features
        (self.radii,) = cached(f"radii {self.k}", [self.real], lambda: [squared_radii(self.real, self.k)])

    def compute(self) -> dict[str, Estimate]:
        """The four shares."""
        return among(self.real, self.radii, self.whole(), self.k)
