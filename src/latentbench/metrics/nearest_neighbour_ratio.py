"""Whether samples are nearer to training images than to images that the model has not seen."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_whole_number
from latentbench.metrics.base import Estimate, ImageMetric, MetricInputs, Quantity, standard_error
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
    return ratio_of_distances(nearest(samples, training), nearest(samples, held_out), len(training)).value


class Nearest(NamedTuple):
    """What is nearest to each of N points among others."""

    distance: Tensor  # (N,), exactly 0 to a copy; float64
    number: Tensor  # (N,), which of the others
    next_distance: Tensor  # (N,), to the second nearest; to the nearest where there is but one


def nearest(points: Tensor, others: Tensor) -> Nearest:
    """What is nearest to each of (N, D) points among (M, D) others."""
    halves = others.square().sum(1) / 2
    two = [
        torch.addmm(halves, rows, others.T, alpha=-1).topk(min(2, len(others)), largest=False).indices
        for rows in points.split(ROWS)
    ]
    first, *rest = torch.cat(two).T
    distances = [(points.double() - others[number].double()).norm(dim=1) for number in (first, *rest)]
    return Nearest(distances[0], first, distances[-1])


def ratio_of_distances(to_training: Nearest, to_held_out: Nearest, m: int) -> Estimate:
    """Sum of distances over sum of distances, with its standard error.

    Its three parts are of other samples, to first order, and of other training and other held-out images, m of each, by
    leaving out one at a time: a sample then falls to the second nearest.
    """
    above, below = to_training.distance, to_held_out.distance
    ratio = above.sum() / below.sum()
    variance = standard_error((above - ratio * below) / below.mean()).square()
    for found, scale in ((to_training, 1.0), (to_held_out, ratio)):
        further = below.new_zeros(m).index_add_(0, found.number, found.next_distance - found.distance)
        moved = scale * further / below.sum()
        variance = variance + (moved - moved.mean()).square().sum() * (m - 1) / m
    return Estimate(ratio, variance.sqrt())


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
        self.samples = check_whole_number("metric.memorization.samples", samples, minimum=1)
        self.keep("images")

    def prepare(self, inputs: MetricInputs) -> None:
        """As many training images as test images; their order is already one of chance."""
        training = inputs.data.expected_images("train")[: len(inputs.reference)]
        self.trained_on = training.to(inputs.reference.device).flatten(1)
        self.held_out = inputs.reference[: len(training)].flatten(1)

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        self.images.append(images.flatten(1))

    def compute(self) -> dict[str, Estimate]:
        """The ratio."""
        images: Tensor = dim_zero_cat(self.images)
        generator = torch.Generator().manual_seed(0)
        some = settled(images)[torch.randperm(len(images), generator=generator)[: self.samples].to(images.device)]
        to_training, to_held_out = (nearest(images[some], others) for others in (self.trained_on, self.held_out))
        return {"memorization": ratio_of_distances(to_training, to_held_out, len(self.trained_on))}
