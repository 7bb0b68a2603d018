"""Precision, recall, density and coverage of a set of images, by nearest neighbours."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from latentbench.errors import whole_number
from latentbench.features.cache import kept
from latentbench.metrics.base import Estimate, Evidence, Quantity, mean_of
from latentbench.metrics.feature_set import FeatureSetMetric

ROWS = 250  # vectors whose distances to all others are held at once
# Squared distances that differ by less than this, in units of the largest squared length, are equal: rounding leaves
# no copy at a distance of exactly 0, and no two equal distances equal.
ROUNDING = 1e-12


class Neighbourhood(NamedTuple):
    """How a set lies among another: of each of its vectors, or of each of the other's, or the means of these."""

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
    return Neighbourhood(*(of_each.mean() for of_each in among(real, squared_radii(real, k), made, k)))


def squared_radii(vectors: Tensor, k: int) -> Tensor:
    """Squared distance (N,) of each of (N, F) vectors to its k-th nearest neighbour among them, itself not counted."""
    centred = vectors.double() - vectors.double().mean(0)
    radii = centred.square().sum(1)
    for rows, distances in _blocks(centred, centred):
        radii[rows] += distances.topk(k + 1, largest=False).values[:, k]
    return radii.clamp(min=0)


def among(real: Tensor, radii: Tensor, made: Tensor, k: int) -> Neighbourhood:
    """What precision_recall_density_coverage are the means of, the squared radii of the real vectors known.

    Shape: precision and density (M,), recall and coverage (N,), float64.
    """
    made_radii = squared_radii(made, k)
    real, made = real.double() - real.double().mean(0), made.double() - real.double().mean(0)
    squares = real.square().sum(1)
    rounding = ROUNDING * torch.maximum(squares.max(), made.square().sum(1).max())
    balls = made.new_zeros(len(made))
    covered, recalled = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    for rows, distances in _blocks(real, made):
        inside = distances <= (radii[rows] - squares[rows] + rounding)[:, None]
        balls += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = distances.sub_(made_radii).amin(1) <= rounding - squares[rows]
    return Neighbourhood(
        precision=(balls > 0).double(),
        recall=recalled.double(),
        density=balls / k,
        coverage=covered.double(),
    )


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
        self.k = whole_number("metric.prdc.k", k, least=1)
        self.least = k + 1

    def prepare(self, evidence: Evidence) -> None:
        """The balls around the reference's features."""
        self.real = evidence.reference_features
        (self.radii,) = kept(f"radii {self.k}", [self.real], lambda: [squared_radii(self.real, self.k)])

    def compute(self) -> dict[str, Estimate]:
        """The four shares."""
        found = among(self.real, self.radii, self.whole(), self.k)
        return {name: mean_of(of_each) for name, of_each in found._asdict().items()}
