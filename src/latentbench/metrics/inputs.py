"""What a metric gets: the trained model, the data, and the image sets of the run."""

import copy
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from latentbench.data.base import ImageData, Split
from latentbench.features.base import Features
from latentbench.features.cache import cached
from latentbench.metrics.blocks import block_size
from latentbench.models.base import GenerativeModel
from latentbench.records.keys import REAL, TEST
from latentbench.records.measuring import Cells
from latentbench.records.outside import source_digest

CHUNK = 1000  # images per forward pass of a model
# Images per forward pass of a network of features: few enough for its layers' outputs to fit into a processor's cache.
FEATURE_CHUNK = 100

# Names of the image sets that do not belong to a sampler.
RECONSTRUCTION = "reconstruction"
INTERPOLATION = "interpolation"
OTHERS = (REAL, RECONSTRUCTION, INTERPOLATION)


class MetricInputs:
    """The inputs that all metrics of a run share. Features and codes are computed at first use, once for all metrics.

    model: the trained model, in evaluation mode
    data: the data set, for metrics that need other splits, labels or factors
    features: computes the features that a FeatureMetric compares
    images: set name -> images (N, C, H, W) in [0, 1], N the same for every set. `real` holds images of `real_split`,
        `reconstruction` reconstructions of validation images, `interpolation` images decoded half-way between the
        codes of two of them; every other set is named after its sampler.
    skipped: set name -> why the set has no images
    reference: N images of `split`, averaged over binarization noise; every set is compared with these
    held_out: all images of `split`, as the model sees them
    split: the images that are measured against, `test` or `validation`
    """

    def __init__(
        self,
        *,
        model: GenerativeModel,
        data: ImageData,
        features: Features,
        images: Mapping[str, Tensor],
        skipped: Mapping[str, str],
        reference: Tensor,
        held_out: Tensor,
        split: Split = "test",
    ) -> None:
        self.model = model
        self.data = data
        self.features = features
        self.images = images
        self.skipped = skipped
        self.reference = reference
        self.held_out = held_out
        self.split = split
        self._made: dict[tuple[Features, str, Split | None], Tensor] = {}

    @property
    def real_split(self) -> Split:
        """The images that stand for real ones where settings are chosen and as a floor: never those of `split`."""
        return "validation" if self.split == TEST else "train"

    def against_validation(self) -> "MetricInputs":
        """The same inputs, measured against validation images.

        Reconstructions and interpolations are left out: they are made of the images that they would be compared with.
        """
        n = len(self.reference)
        device = self.reference.device
        images = {name: images for name, images in self.images.items() if name not in OTHERS}
        skipped = {name: reason for name, reason in self.skipped.items() if name not in OTHERS}
        if REAL in self.images:
            # The last ones, since metrics that compare with training images take the first.
            size = self.data.size("train")
            real = self.data.expected_images("train", slice(max(n, size - n), size)).to(device)
            if len(real) == n:
                images[REAL] = real
            else:
                skipped[REAL] = f"the floor needs {2 * n} training images, two sets of {n}"
        seen = MetricInputs(
            model=self.model,
            data=self.data,
            features=self.features,
            images=images,
            skipped=skipped,
            reference=self.data.expected_images("validation", slice(n)).to(device),
            held_out=self.data.images("validation").to(device),
            split="validation",
        )
        seen._made = self._made  # features of samples are the same, whatever these are compared with
        return seen

    def with_features(self, features: Features) -> "MetricInputs":
        """The same inputs, with other features."""
        other = copy.copy(self)  # shares what is computed already
        other.features = features
        return other

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers that produced images."""
        return [name for name in self.images if name not in OTHERS]

    def restricted_to(self, cells: Cells) -> "MetricInputs":
        """The same inputs with the image sets of some cells alone."""
        names = {
            name
            for name in [*self.images, *self.skipped]
            if (cells.others if name in OTHERS else name in cells.samplers)
        }
        if names == self.images.keys() | self.skipped.keys():
            return self
        restricted = copy.copy(self)  # shares the features that are computed already
        restricted.images = {name: images for name, images in self.images.items() if name in names}
        restricted.skipped = {name: reason for name, reason in self.skipped.items() if name in names}
        return restricted

    def features_of(self, set_name: str) -> Tensor:
        """Features (N, F) of an image set."""
        key = self.features, set_name, self.real_split if set_name == REAL else None
        if key not in self._made:
            images = self.images[set_name]
            self._made[key] = self._extract_cached(images) if set_name == REAL else self._extract(images)
        return self._made[key]

    @property
    def reference_features(self) -> Tensor:
        """Features (N, F) of the reference images."""
        key = self.features, "reference", self.split
        if key not in self._made:
            self._made[key] = self._extract_cached(self.reference)
        return self._made[key]

    @cached_property
    def codes(self) -> Tensor:
        """The code of each held-out image, (N, D). Only for models with an encoder."""
        return in_chunks(self.model.encode, self.held_out)

    def _extract_cached(self, images: Tensor) -> Tensor:
        """For images that are the same in every run: their features are stored and shared between runs."""
        content = [images, *self.features.state_dict().values()]
        name = f"features {self.features.name} {source_digest(type(self.features).__module__)}"
        (features,) = cached(name, content, lambda: [self._extract(images)])
        return features

    def _extract(self, images: Tensor) -> Tensor:
        return in_chunks(self.features, images, block_size(FEATURE_CHUNK, images))


def in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor, size: int = CHUNK) -> Tensor:
    """The function of rows (N, ...), `size` rows at a time."""
    return torch.cat([function(chunk) for chunk in rows.split(size)])


def not_finite(rows: Tensor, kind: str) -> str | None:
    """The reason to skip rows (N, ...), one per image, that contain NaN or infinity; None if all are finite.

    kind: what the rows contain, in the plural, for the message
    """
    broken = int((~rows.flatten(1).isfinite().all(1)).sum())
    return f"{broken} of {len(rows)} images have {kind} that are not finite numbers" if broken else None
