"""Memorization: whether samples are closer to training images than to held-out images."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_whole_number
from latentbench.metrics.base import ImageMetric
from latentbench.metrics.feature_set import canonical_order
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity, standard_error

ROWS = 500  # samples whose distances to all images are in memory at once


def nearest_neighbour_ratio(samples: Tensor, training: Tensor, held_out: Tensor) -> Tensor:
    """Mean distance from samples to their nearest training image, over that to their nearest held-out image.

    sum_s min_t |s - t| / sum_s min_h |s - h|

    Shape: samples (N, D), training (M, D), held_out (M, D) with the same M.
    If the samples are independent of both sets, and both sets are from the same distribution, numerator and denominator
    have the same expectation, whatever the samples are. If all samples are alike, they share one nearest image in each
    set, and the ratio is random.
    Source: our definition, on the three sets of Meehan et al. 2020. Where we differ: they compare the distances from
    samples to training images with those from held-out images to training images, so that blurred samples, which are
    close to every image, count as copies.
    """
    return ratio_of_distances(nearest(samples, training), nearest(samples, held_out), len(training)).value


class Nearest(NamedTuple):
    """The nearest neighbours of N points in another set."""

    distance: Tensor  # (N,), to the nearest; exactly 0 for a copy; float64
    nearest_index: Tensor  # (N,), of the nearest in the other set
    next_distance: Tensor  # (N,), to the second nearest; to the nearest if the other set has a single point


def nearest(points: Tensor, others: Tensor) -> Nearest:
    """The nearest neighbours of points (N, D) among others (M, D)."""
    halves = others.square().sum(1) / 2
    nearest_two = [
        # |o|^2 / 2 - p.o orders the others like their distances from p.
        torch.addmm(halves, rows, others.T, alpha=-1).topk(min(2, len(others)), largest=False).indices
        for rows in points.split(ROWS)
    ]
    first, *rest = torch.cat(nearest_two).T
    distances = [(points.double() - others[index].double()).norm(dim=1) for index in (first, *rest)]
    return Nearest(distances[0], first, distances[-1])


def ratio_of_distances(to_training: Nearest, to_held_out: Nearest, m: int) -> Estimate:
    """Ratio of the sums of the distances, with its standard error.

    Its variance has three parts: that due to the samples, to first order, and those due to the m training and the m
    held-out images, by a jackknife: without its nearest image, a sample is compared with the second nearest.
    """
    numerator, denominator = to_training.distance, to_held_out.distance
    ratio = numerator.sum() / denominator.sum()
    variance = standard_error((numerator - ratio * denominator) / denominator.mean()).square()
    for neighbours, scale in ((to_training, 1.0), (to_held_out, ratio)):
        increase = neighbours.next_distance - neighbours.distance
        increase_without = denominator.new_zeros(m).index_add_(0, neighbours.nearest_index, increase)
        change = scale * increase_without / denominator.sum()
        variance = variance + (change - change.mean()).square().sum() * (m - 1) / m
    return Estimate(ratio, variance.sqrt())


class NearestNeighbourRatio(ImageMetric):
    """`memorization/<set>`: mean distance in pixel space from the images of a set to the nearest of M training images,
    over that to the nearest of M test images.

    1: the images are no closer to training images than to unseen ones; below 1: they are closer to training images;
    0: all are copies of them. A value near 1 is not better by itself: an underfitted model has it too. The floor is
    `memorization/real`: validation images compared with the same two sets.

    M is the number of test images, or that of training images if it is smaller. Copies of the other training images are
    not detected: if M is a fifth of them (MNIST), a model that only copies scores about 4/5. A shifted copy counts as
    another image. If the samples are very similar to each other, the same few images are nearest to all of them, and
    the ratio scatters around 1 more widely than that of real images.

    samples: number of images of a set to compare; the choice does not depend on their order
    Raises: UserError if `samples` is less than 1.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"memorization": Quantity("of held-out", higher_is_better=None)}
    images: list[Tensor]

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        self.samples = check_whole_number("metric.memorization.samples", samples, minimum=1)
        self.add_lists("images")

    def prepare_reference(self, inputs: MetricInputs) -> None:
        """As many training images as test images. Their order is random, so that the first are a random sample."""
        size = inputs.data.size("train")
        training = inputs.data.expected_images("train", slice(len(inputs.reference)))
        self.caveat = (
            f"compared with {len(training)} of {size} training images, as many as there are held-out images: copies of "
            f"the others are not seen, and a model that only copies scores about {1 - len(training) / size:.2f}"
        ) * (len(training) < size)
        if inputs.data.flip:
            mirrored = "training images were mirrored at random (data.flip), and copies of mirrored ones are not seen"
            self.caveat = "; ".join(filter(None, [self.caveat, mirrored]))
        self.training_images = training.to(inputs.reference.device).flatten(1)
        self.held_out_images = inputs.reference[: len(training)].flatten(1)

    def update(self, images: Tensor) -> None:
        self.images.append(images.flatten(1))

    def compute(self) -> dict[str, Estimate]:
        images: Tensor = dim_zero_cat(self.images)
        generator = torch.Generator().manual_seed(0)
        choice = torch.randperm(len(images), generator=generator)[: self.samples].to(images.device)
        samples = images[canonical_order(images)[choice]]
        to_training, to_held_out = nearest(samples, self.training_images), nearest(samples, self.held_out_images)
        ratio = ratio_of_distances(to_training, to_held_out, len(self.training_images))
        return {"memorization": ratio._replace(caveat=self.caveat)}
