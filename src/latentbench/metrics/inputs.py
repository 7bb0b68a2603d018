"""What a metric gets: the trained model, the data, and the image sets of the run."""

import copy
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from latentbench.data.base import ImageData
from latentbench.features.base import Features
from latentbench.features.cache import cached
from latentbench.models.base import GenerativeModel
from latentbench.records.measuring import Cells
from latentbench.records.outside import source_digest

CHUNK = 1000  # images per forward pass

# Names of the image sets that do not belong to a sampler.
REAL = "real"
RECONSTRUCTION = "reconstruction"
INTERPOLATION = "interpolation"


class MetricInputs:
    """The inputs that all metrics of a run share. Features and codes are computed at first use, once for all metrics.

    model: the trained model, in evaluation mode
    data: the data set, for metrics that need other splits, labels or factors
    features: computes the features that every FeatureMetric compares
    images: set name -> images (N, C, H, W) in [0, 1], N the same for every set. `real` holds validation images,
        `reconstruction` their reconstructions, `interpolation` images decoded half-way between the codes of two of
        them; every other set is named after its sampler.
    skipped: set name -> why the set has no images
    reference: N test images, averaged over binarization noise; every set is compared with these
    test_images: all test images, as the model sees them
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
        test_images: Tensor,
    ) -> None:
        self.model = model
        self.data = data
        self.features = features
        self.images = images
        self.skipped = skipped
        self.reference = reference
        self.test_images = test_images
        self._features_by_set: dict[str, Tensor] = {}

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers that produced images."""
        return [name for name in self.images if name not in (REAL, RECONSTRUCTION, INTERPOLATION)]

    def restricted_to(self, cells: Cells) -> "MetricInputs":
        """The same inputs with the image sets of some cells alone."""
        names = {
            name
            for name in [*self.images, *self.skipped]
            if (cells.others if name in (REAL, RECONSTRUCTION, INTERPOLATION) else name in cells.samplers)
        }
        if names == self.images.keys() | self.skipped.keys():
            return self
        restricted = copy.copy(self)  # shares the features that are computed already
        restricted.images = {name: images for name, images in self.images.items() if name in names}
        restricted.skipped = {name: reason for name, reason in self.skipped.items() if name in names}
        return restricted

    def features_of(self, set_name: str) -> Tensor:
        """Features (N, F) of an image set."""
        if set_name not in self._features_by_set:
            images = self.images[set_name]
            self._features_by_set[set_name] = (
                self._extract_cached(images) if set_name == REAL else in_chunks(self.features, images)
            )
        return self._features_by_set[set_name]

    @cached_property
    def reference_features(self) -> Tensor:
        """Features (N, F) of the reference images."""
        return self._extract_cached(self.reference)

    @cached_property
    def codes(self) -> Tensor:
        """The code of each test image, (N, D). Only for models with an encoder."""
        return in_chunks(self.model.encode, self.test_images)

    def _extract_cached(self, images: Tensor) -> Tensor:
        """For images that are the same in every run: their features are stored and shared between runs."""
        content = [images, *self.features.state_dict().values()]
        name = f"features {self.features.name} {source_digest(type(self.features).__module__)}"
        (features,) = cached(name, content, lambda: [in_chunks(self.features, images)])
        return features


def in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """The function of rows (N, ...), CHUNK rows at a time."""
    return torch.cat([function(chunk) for chunk in rows.split(CHUNK)])


def not_finite(rows: Tensor, kind: str) -> str | None:
    """The reason to skip rows (N, ...), one per image, that contain NaN or infinity; None if all are finite.

    kind: what the rows contain, in the plural, for the message
    """
    broken = int((~rows.flatten(1).isfinite().all(1)).sum())
    return f"{broken} of {len(rows)} images have {kind} that are not finite numbers" if broken else None
