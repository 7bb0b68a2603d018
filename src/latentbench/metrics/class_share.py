"""How many images of a set show what they should, in the eyes of a classifier."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import UserError, check_whole_number
from latentbench.features.classifier import ClassifierFeatures
from latentbench.metrics.base import ImageMetric
from latentbench.metrics.inputs import FEATURE_CHUNK, MetricInputs, in_chunks
from latentbench.metrics.measurements import Estimate, Measurements, Quantity, mean_of, share_variance
from latentbench.records.keys import REAL, TEST

OTHER_CLASSES = "other_classes"  # the set whose numbers are the lower end of the scale
NOISE_IMAGES = 1000  # at most, and as many of the set that they are like


def noise_like(images: Tensor) -> Tensor:
    """As many images of Gaussian noise as there are images (N, C, H, W), with the mean and the covariance of these.

    x = m + sum_i w_i (x_i - m) / sqrt(N - 1) with w from N(0, I) has the covariance of the x_i. Pixels are clipped to
    [0, 1]. The noise is the same in whatever order the images come.
    """
    flat = images.flatten(1).double()
    flat = flat[flat.sum(1).argsort()]
    n, mean = len(flat), flat.mean(0)
    weights = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=flat.dtype).to(flat.device)
    noise = mean + weights @ (flat - mean) / math.sqrt(max(1, n - 1))
    return noise.clamp(0, 1).reshape(images.shape).to(images.dtype)


class ClassShare(ImageMetric):
    """`class_share/<set>`, the share of images that a classifier takes for one of the wanted classes,
    `class_probability/<set>`, the mean probability that it gives to these classes, and `class_share_noise/<set>`, the
    share of images of noise that have the mean and the covariance of the set: its colours and its blur, and no shapes.

    The first counts an image that is a little more like a dog than like a cat as a dog; the second as half of one. The
    set `real` gives the scale's upper end, and `other_classes` its lower: real test images of other classes, as counted
    when the classifier was trained. A classifier must decide for one of its classes, also where an image shows nothing:
    a share has a caveat unless it is above that of the noise.

    classifier: name of a classifier, shipped or trained by `latentbench-features`; null: that of the data set.
        It should know other classes than the images have.
    labels: numbers of the wanted classes, from 0 on
    others: numbers of the classes that `other_classes` holds; null: all that are not wanted
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "class_share": Quantity("of images", higher_is_better=True),
        "class_probability": Quantity("", higher_is_better=True),
        "class_share_noise": Quantity("of images", higher_is_better=None),
    }
    probabilities: list[Tensor]
    images: list[Tensor]

    def __init__(self, *, classifier: str | None, labels: Sequence[int], others: Sequence[int] | None) -> None:
        super().__init__()
        self.classifier = classifier
        self.labels = [check_whole_number("metric.class_share.labels", label, minimum=0) for label in labels]
        self.others = others and [check_whole_number("metric.class_share.others", label, minimum=0) for label in others]
        self.add_lists("probabilities", "images")

    def features(self, inputs: MetricInputs) -> ClassifierFeatures:
        """The classifier. Raises: UserError if there is none for these images."""
        return ClassifierFeatures(weights=self.classifier, data_name=str(inputs.data.name), shape=inputs.data.shape).to(
            inputs.reference.device
        )

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a classifier that knows the classes, for images of this shape."""
        try:
            classes = self.features(inputs).classes
        except UserError as error:
            return str(error)
        unknown = [label for label in [*self.labels, *(self.others or [])] if label >= classes]
        return f"the classifier has the classes 0 to {classes - 1}, and no class {unknown[0]}" if unknown else None

    def prepare_reference(self, inputs: MetricInputs) -> None:
        """Load the classifier."""
        self.network = self.features(inputs)

    def measure(self, inputs: MetricInputs) -> Measurements:
        measurements = super().measure(inputs)
        if f"class_share/{REAL}" in measurements.values and inputs.split == TEST:  # those images are test images
            measurements.add("other_classes", self.of_other_classes())
        return measurements

    def of_other_classes(self) -> dict[str, Estimate]:
        """The same of test images of the other classes. The error of the probability is at most that of a share."""
        others = self.others or [label for label in range(self.network.classes) if label not in self.labels]
        taken, probabilities = (table[others] for table in self.network.confusion.values())
        n = int(taken.sum())
        shares = {"class_share": taken, "class_probability": probabilities}
        shares = {name: table[:, self.labels].sum().double() / n for name, table in shares.items()}
        return {name: Estimate(share, share_variance(share, n).sqrt()) for name, share in shares.items()}

    def update(self, images: Tensor) -> None:
        self.images.append(images)
        self.probabilities.append(in_chunks(self.network.probabilities, images, FEATURE_CHUNK))

    def compute(self) -> dict[str, Estimate]:
        probabilities = dim_zero_cat(self.probabilities).double()
        noise = noise_like(dim_zero_cat(self.images)[:NOISE_IMAGES])
        share, variance = self.share(probabilities)
        of_noise, variance_of_noise = self.share(in_chunks(self.network.probabilities, noise, FEATURE_CHUNK))
        caveat = ""
        if share - of_noise < 2 * (variance + variance_of_noise).sqrt():
            caveat = (
                f"no more than of noise with the mean and the covariance of these images ({of_noise:.2f}), which shows "
                "nothing: this number does not tell what the images show"
            )
        return {
            "class_share": Estimate(share, variance.sqrt(), caveat),
            "class_probability": mean_of(probabilities[:, self.labels].sum(1))._replace(caveat=caveat),
            "class_share_noise": Estimate(of_noise, variance_of_noise.sqrt()),
        }

    def share(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The share of images (N, K) whose most probable class is a wanted one, and its variance."""
        wanted = torch.isin(probabilities.argmax(1), torch.tensor(self.labels, device=probabilities.device))
        share = wanted.double().mean()
        return share, share_variance(share, len(wanted))
