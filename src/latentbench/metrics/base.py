"""The contract of a metric: numbers about a trained model, each with units and a direction."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.data.base import ImageData
from latentbench.errors import check_whole_number
from latentbench.features.base import Features
from latentbench.features.cache import cached
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
class MetricInputs:
    """All that metrics may look at; images are made once and seen by every metric."""

    model: GenerativeModel
    data: ImageData
    features: Features
    # Of what -> images (N, C, H, W) in [0, 1], the same number of each: `real`, `reconstruction` and `interpolation`
    # are validation images, what the model makes of them and what it makes half-way between two, all others samplers.
    images: Mapping[str, Tensor]
    # Of what -> why there are no images of it.
    skipped: Mapping[str, str]
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
        (made,) = cached(f"features {self.features.name}", content, lambda: [self.described(images)])
        return made

    def described(self, images: Tensor) -> Tensor:
        """Features (N, F) of images (N, C, H, W)."""
        return torch.cat([self.features(batch) for batch in images.split(CHUNK)])

    @cached_property
    def codes(self) -> Tensor:
        """The latent that stands for each test image, (N, D), of a model that encodes."""
        return torch.cat([self.model.code(batch) for batch in self.test.split(CHUNK)])


class Estimate(NamedTuple):
    """A number, how far it is to be trusted, and what to mind in it."""

    value: Tensor
    error: Tensor | None  # its standard error, in its units; None for a setting that the metric chose by itself
    caveat: str = ""

    def over(self, scale: Tensor | float) -> "Estimate":
        """The same in other units."""
        return self._replace(value=self.value / scale, error=None if self.error is None else self.error / scale)


@dataclasses.dataclass
class Measurements:
    """What a metric gives, by key `quantity/of_what`."""

    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    standard_errors: dict[str, float] = dataclasses.field(default_factory=dict)  # standard errors of the numbers
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)  # why there is no number
    caveats: dict[str, str] = dataclasses.field(default_factory=dict)  # what to mind in a number that there is

    def add(self, of_what: str, estimates: Mapping[str, Estimate]) -> None:
        """Put down quantities of something."""
        for name, (value, error, caveat) in estimates.items():
            key = f"{name}/{of_what}"
            self.numbers[key] = value.item()
            if error is not None:
                self.standard_errors[key] = error.item()
            if caveat:
                self.caveats[key] = caveat

    def join(self, other: "Measurements") -> None:
        """Put down all that another metric gave."""
        self.numbers |= other.numbers
        self.standard_errors |= other.standard_errors
        self.skipped |= other.skipped
        self.caveats |= other.caveats


class Metric(torchmetrics.Metric):
    """One or several quantities; a thin accumulator over pure functions of the same file."""

    quantities: ClassVar[Mapping[str, Quantity]]  # the first part of each key -> what it means
    full_state_update = False

    @abstractmethod
    def compute(self) -> dict[str, Estimate]:
        """The quantities by name, with scalars."""

    @abstractmethod
    def measure(self, inputs: MetricInputs) -> Measurements:
        """Numbers and their errors, reasons where there is none, and warnings."""

    def keep(self, *names: str) -> None:
        """Give the metric a list of tensors for every name, put together across processes."""
        for name in names:
            self.add_state(name, [], dist_reduce_fx="cat")


class ImageMetric(Metric):
    """A metric of a set of images; measured on every set the run makes."""

    of: ClassVar[tuple[str, ...]] = (REAL, RECONSTRUCTION, INTERPOLATION)  # sets it is for besides the samplers'
    looks_at: ClassVar[str] = "pixels"

    @abstractmethod
    def prepare(self, inputs: MetricInputs) -> None:
        """Look at the real images once, before the sets."""

    @abstractmethod
    def update(self, images: Tensor) -> None:
        """Take in a batch (B, C, H, W) of the set."""

    def seen(self, inputs: MetricInputs, of_what: str) -> Tensor:
        """What `update` takes of a set: its images."""
        return inputs.images[of_what]

    @torch.no_grad()
    def measure(self, inputs: MetricInputs) -> Measurements:
        """Every quantity of every set."""
        self.prepare(inputs)
        found = Measurements()
        for of_what in [*inputs.samplers, *(name for name in self.of if name in inputs.images)]:
            seen = self.seen(inputs, of_what)
            if reason := not_finite(seen, self.looks_at):
                found.skipped |= {f"{name}/{of_what}": reason for name in self.quantities}
                continue
            self.reset()
            for batch in seen.split(CHUNK):
                self.update(batch)
            found.add(of_what, self.compute())
        found.skipped |= {
            f"{name}/{of_what}": reason
            for of_what, reason in inputs.skipped.items()
            for name in self.quantities
            if of_what in self.of or of_what not in (RECONSTRUCTION, INTERPOLATION)
        }
        return found


class FeatureMetric(ImageMetric):
    """A metric of the features of a set, which all such metrics share."""

    looks_at = "features"

    @abstractmethod
    def update(self, features: Tensor) -> None:
        """Take in a batch (B, F) of the set's features."""

    def seen(self, inputs: MetricInputs, of_what: str) -> Tensor:
        """The set's features (N, F)."""
        return inputs.features_of(of_what)


class ModelMetric(Metric):
    """A metric of the model on test images; keys end in `/test`."""

    batch_size: int = CHUNK
    max_images: int | None = None  # images that it is measured on; None: all
    asks_encoder: ClassVar[bool] = True

    @abstractmethod
    def refuses(self, inputs: MetricInputs) -> str | None:
        """Why the model cannot be asked for it; None if it can."""

    @abstractmethod
    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Take in a batch (B, C, H, W) of test images."""

    @torch.no_grad()
    def measure(self, inputs: MetricInputs) -> Measurements:
        """Every quantity on the test images."""
        if reason := self.refuses(inputs) or (self.asks_encoder and not_finite(inputs.codes, "codes")):
            return Measurements(skipped={f"{name}/test": reason for name in self.quantities})
        self.reset()
        # In an order of chance: the first of them are as good as any.
        for batch in inputs.test[: self.max_images].split(self.batch_size):
            self.update(inputs.model, batch)
        found = Measurements()
        found.add("test", self.compute())
        return found


class DrawnMetric(ModelMetric):
    """The mean over test images of something estimated from `samples` draws of q(z|x) per image.

    Raises: UserError if that is less than one draw.
    """

    values: list[Tensor]

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        self.samples = check_whole_number(f"metric.{next(iter(self.quantities))}.samples", samples, minimum=1)
        self.keep("values")

    @abstractmethod
    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """The estimate for each image, (B,)."""

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        self.values.append(self.per_image(model, images))

    def compute(self) -> dict[str, Estimate]:
        """Mean over images, under the name of the first quantity."""
        return {next(iter(self.quantities)): mean_of(self.values)}


def mean_of(values: Tensor | list[Tensor]) -> Estimate:
    """Mean of values (N,) and its standard error; in float64."""
    exact = dim_zero_cat(values).double()
    return Estimate(exact.mean(), standard_error(exact))


def standard_error(values: Tensor) -> Tensor:
    """s / sqrt(N) of values (N,), of their mean; not a number for one value."""
    return values.std() / math.sqrt(len(values)) if len(values) > 1 else values.new_tensor(math.nan)


def not_finite(rows: Tensor, what: str) -> str | None:
    """How many of rows (N, ...), one per image, are not finite numbers; None if all are."""
    broken = int((~rows.flatten(1).isfinite().all(1)).sum())
    return f"{broken} of {len(rows)} images have {what} that are not finite numbers" if broken else None


def describe(metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """Units and direction of every quantity, for the record."""
    return {
        name: dataclasses.asdict(quantity)
        for metric in metrics.values()
        for name, quantity in metric.quantities.items()
    }
