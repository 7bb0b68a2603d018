"""The contract of a metric: numbers about a trained model, each with units and a direction."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
import torchmetrics
from torch import Tensor

from latentbench.data.base import ImageData
from latentbench.errors import UserError
from latentbench.features.base import Features
from latentbench.features.cache import kept
from latentbench.models.base import GenerativeModel

CHUNK = 1000  # images that are looked at together

REAL = "real"
RECONSTRUCTION = "reconstruction"
INTERPOLATION = "interpolation"


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What a number means."""

    units: str  # "" for none
    higher_is_better: bool | None  # None: neither is better by itself


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that metrics may look at; images are made once and seen by every metric."""

    model: GenerativeModel
    data: ImageData
    features: Features
    # Of what -> images (N, C, H, W) in [0, 1], the same number of each: `real`, `reconstruction` and `interpolation`
    # are validation images, what the model makes of them and what it makes half-way between two, all others samplers.
    images: Mapping[str, Tensor]
    # Of what -> why there are no images of it.
    absent: Mapping[str, str]
    # As many test images, averaged over binarization noise: what `images` are compared with.
    reference: Tensor
    test: Tensor  # all test images as the model is shown them

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers that gave images."""
        return [of_what for of_what in self.images if of_what not in (REAL, RECONSTRUCTION, INTERPOLATION)]

    def features_of(self, of_what: str) -> Tensor:
        """Features (N, F) of a set of `images`, made once."""
        if of_what not in self._features:
            images = self.images[of_what]
            self._features[of_what] = self._described_before(images) if of_what == REAL else self.described(images)
        return self._features[of_what]

    @cached_property
    def _features(self) -> dict[str, Tensor]:
        return {}

    @cached_property
    def reference_features(self) -> Tensor:
        """Features (N, F) of the reference."""
        return self._described_before(self.reference)

    def _described_before(self, images: Tensor) -> Tensor:
        """Features (N, F) of images that are the same in every run, made once for all runs."""
        content = [images, *self.features.state_dict().values()]
        (made,) = kept(f"features {self.features.name}", content, lambda: [self.described(images)])
        return made

    def described(self, images: Tensor) -> Tensor:
        """Features (N, F) of images (N, C, H, W)."""
        return torch.cat([self.features(batch) for batch in images.split(CHUNK)])

    @cached_property
    def codes(self) -> Tensor:
        """The latent that stands for each test image, (N, D), of a model that encodes."""
        return torch.cat([self.model.code(batch) for batch in self.test.split(CHUNK)])


class Measured(NamedTuple):
    """What a metric gives, by key `quantity/of_what`."""

    numbers: dict[str, float]
    absent: dict[str, str]  # why there is no number
    warnings: Mapping[str, str] = MappingProxyType({})  # what to mind in a number that there is


class Metric(torchmetrics.Metric):
    """One or several quantities; a thin accumulator over pure functions of the same file."""

    quantities: ClassVar[Mapping[str, Quantity]]  # the first part of each key -> what it means
    full_state_update = False

    @abstractmethod
    def measure(self, evidence: Evidence) -> Measured:
        """Numbers, reasons where there is none, and warnings."""

    def warnings(self) -> dict[str, str]:
        """What to mind in the quantities that were computed last, by their names."""
        return {}


class ImageMetric(Metric):
    """A metric of a set of images; measured on every set the run makes."""

    of: ClassVar[tuple[str, ...]] = (REAL, RECONSTRUCTION, INTERPOLATION)  # sets it is for besides the samplers'

    @abstractmethod
    def prepare(self, evidence: Evidence) -> None:
        """Look at the real images once, before the sets."""

    @abstractmethod
    def update(self, images: Tensor) -> None:
        """Take in a batch (B, C, H, W) of the set."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Quantities of the set, scalars."""

    def seen(self, evidence: Evidence, of_what: str) -> Tensor:
        """What `update` takes of a set: its images."""
        return evidence.images[of_what]

    @torch.no_grad()
    def measure(self, evidence: Evidence) -> Measured:
        """Every quantity of every set."""
        self.prepare(evidence)
        numbers: dict[str, float] = {}
        warnings: dict[str, str] = {}
        for of_what in [*evidence.samplers, *(name for name in self.of if name in evidence.images)]:
            self.reset()
            for batch in self.seen(evidence, of_what).split(CHUNK):
                self.update(batch)
            numbers |= {f"{name}/{of_what}": value.item() for name, value in self.compute().items()}
            warnings |= {f"{name}/{of_what}": text for name, text in self.warnings().items()}
        absent = {
            f"{name}/{of_what}": reason
            for of_what, reason in evidence.absent.items()
            for name in self.quantities
            if of_what in self.of or of_what not in (RECONSTRUCTION, INTERPOLATION)
        }
        return Measured(numbers, absent, warnings)


class FeatureMetric(ImageMetric):
    """A metric of the features of a set, which all such metrics share."""

    @abstractmethod
    def update(self, features: Tensor) -> None:
        """Take in a batch (B, F) of the set's features."""

    def seen(self, evidence: Evidence, of_what: str) -> Tensor:
        """The set's features (N, F)."""
        return evidence.features_of(of_what)


class ModelMetric(Metric):
    """A metric of the model on test images; keys end in `/test`."""

    batch_size: int = CHUNK

    @abstractmethod
    def refuses(self, evidence: Evidence) -> str | None:
        """Why the model cannot be asked for it; None if it can."""

    @abstractmethod
    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Take in a batch (B, C, H, W) of test images."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Quantities, scalars."""

    def seen(self, evidence: Evidence) -> Tensor:
        """The images that it is measured on: all test images."""
        return evidence.test

    @staticmethod
    def some(images: Tensor, most: int) -> Tensor:
        """So many of the images, or all, evenly spread: the first of them may be of other kinds than the rest."""
        n = min(most, len(images))
        return images[torch.arange(n, device=images.device) * len(images) // n]

    @torch.no_grad()
    def measure(self, evidence: Evidence) -> Measured:
        """Every quantity on the test images."""
        if reason := self.refuses(evidence):
            return Measured({}, {f"{name}/test": reason for name in self.quantities})
        self.reset()
        for batch in self.seen(evidence).split(self.batch_size):
            self.update(evidence.model, batch)
        numbers = {f"{name}/test": value.item() for name, value in self.compute().items()}
        return Measured(numbers, {}, {f"{name}/test": text for name, text in self.warnings().items()})


class DrawnMetric(ModelMetric):
    """The mean over test images of something estimated from `samples` draws of q(z|x) per image.

    Raises: UserError if that is less than one draw.
    """

    total: Tensor
    count: Tensor

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        if type(samples) is not int or samples < 1:
            name = next(iter(self.quantities))
            raise UserError(f"metric.{name}.samples={samples}: take a whole number of draws per image, 1 or more")
        self.samples = samples
        mean_state(self, "total")

    @abstractmethod
    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """The estimate for each image, (B,)."""

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        self.total += self.per_image(model, images).double().sum()
        self.count += len(images)

    def compute(self) -> dict[str, Tensor]:
        """Mean over images, under the name of the first quantity."""
        return {next(iter(self.quantities)): self.total / self.count}


def mean_state(metric: torchmetrics.Metric, *names: str) -> None:
    """Give the metric a float64 sum for every name and one count, added up across processes."""
    for name in names:
        metric.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
    metric.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")


def standard_error(values: Tensor) -> Tensor:
    """s / sqrt(N) of values (N,), the standard error of their mean; not a number for one value."""
    if len(values) < 2:
        return values.new_tensor(math.nan)
    return values.std() / math.sqrt(len(values))


def describe(metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """Units and direction of every quantity, for the record."""
    return {
        name: dataclasses.asdict(quantity)
        for metric in metrics.values()
        for name, quantity in metric.quantities.items()
    }
