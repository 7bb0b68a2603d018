"""Whether samples are nearer to training images than to images that the model has not seen."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import whole_number
from latentbench.metrics.base import Estimate, Evidence, ImageMetric, Quantity, mean_of
from latentbench.metrics.feature_set import settled

ROWS = 500  # samples whose distances to all images are held at once


def nearest_neighbour_ratio(samples: Tensor, training: Tensor, held_out: Tensor) -> Tensor:
    """Mean distance of the samples to their nearest training images over that to their nearest held-out images.

    sum_s min_t |s - t| / sum_s min_h |s - h|

    Shape: samples (N, D), training (M, D), held_out (M, D), as many of the one as of the other.
    If the samples know neither set and both are drawn alike, numerator and denominator have the same expectation,
    whatever the samples are. Samples that are all alike have one nearest image in each set, and a ratio of chance.
    Source: the three samples are those of Meehan et al. 2020, who compare distances of samples to training images with
    distances of held-out images to training images, and so take blurred samples, near to everything, for copies.
    """
    return ratio_of_means(nearest_distances(samples, training), nearest_distances(samples, held_out)).value


def ratio_of_means(above: Tensor, below: Tensor) -> Estimate:
    """Sum of values (N,) over the sum of others that belong to them, and its standard error, to first order."""
    ratio = above.sum() / below.sum()
    return Estimate(ratio, mean_of((above - ratio * below) / below.mean()).error)


def nearest_distances(points: Tensor, others: Tensor) -> Tensor:
    """Distance (N,) of each of (N, D) points to the nearest of (M, D) others, exactly 0 to a copy; in float64."""
    halves = others.square().sum(1) / 2
    nearest = torch.cat([torch.addmm(halves, rows, others.T, alpha=-1).argmin(1) for rows in points.split(ROWS)])
    distances: Tensor = (points.double() - others[nearest].double()).norm(dim=1)
    return distances


class NearestNeighbourRatio(ImageMetric):
    """`memorization/<set>`: mean distance of a set's images to the nearest of M training images over that to the
    nearest of M test images, in pixels.

    1: no more like what the model was trained on than like what it was not; less: nearer to the training images; 0: all
    are copies of them. Near 1 is no merit: an underfitted model has it too. `memorization/real` is the floor:
    validation images against the same two sets.

    M is the number of test images, or of training images if there are fewer. Copies of the other training images are
    not found: where M is a fifth of them (MNIST), a model that does nothing but copy has 0.8. To these distances a
    shifted copy is another image. Where samples are much alike, few images are nearest to them all and the ratio
    scatters about 1 more than that of real images.

    samples: how many images of a set are compared, the same ones in whichever order they come.
    Raises: UserError if that is less than 1.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"memorization": Quantity("of held-out", higher_is_better=None)}
    images: list[Tensor]

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        self.samples = whole_number("metric.memorization.samples", samples, least=1)
        self.keep("images")

    def prepare(self, evidence: Evidence) -> None:
        """As many training images as test images; their order is already one of chance."""
        training = evidence.data.expected_images("train")[: len(evidence.reference)]
        self.trained_on = training.to(evidence.reference.device).flatten(1)
        self.held_out = evidence.reference[: len(training)].flatten(1)

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        self.images.append(images.flatten(1))

    def compute(self) -> dict[str, Estimate]:
        """The ratio."""
        images: Tensor = dim_zero_cat(self.images)
        generator = torch.Generator().manual_seed(0)
        some = settled(images)[torch.randperm(len(images), generator=generator)[: self.samples].to(images.device)]
        to_each = (nearest_distances(images[some], others) for others in (self.trained_on, self.held_out))
        return {"memorization": ratio_of_means(*to_each)}
