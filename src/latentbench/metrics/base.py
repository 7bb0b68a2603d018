"""The contract of a metric. A metric gets MetricInputs and returns Measurements. There are four forms:

- ImageMetric measures every image set from its pixels, FeatureMetric from its features: `fid/prior`, `fid/real`, ...
- ModelMetric measures the model on held-out images: `nll/test`
- MonteCarloMetric is a ModelMetric that averages over draws of q(z|x)
- FactorMetric compares the codes of held-out images with their known factors: `mig/test`

The formula is a pure function in the metric's file; the class is a thin accumulator around it. Whatever cannot be
measured is skipped with a reason. A metric need not know in which features, and whether against test or validation
images, it is measured: the record's keys say it (latentbench.records.keys).
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor

from latentbench.errors import UserError, check_whole_number
from latentbench.metrics.inputs import CHUNK, INTERPOLATION, OTHERS, RECONSTRUCTION, MetricInputs, not_finite
from latentbench.metrics.measurements import Estimate, Measurements, Quantity, mean_of
from latentbench.models.base import GenerativeModel
from latentbench.records.keys import REAL, TEST


class Metric(torchmetrics.Metric):
    """One or several quantities. Batches arrive through `update`; torchmetrics combines them across processes."""

    quantities: ClassVar[Mapping[str, Quantity]]  # by name, the part of a key before the slash
    # Those that are log-densities or log-probabilities of images: their units say of how many grey levels, if of any.
    of_pixels: ClassVar[frozenset[str]] = frozenset()
    full_state_update = False

    @abstractmethod
    def compute(self) -> dict[str, Estimate]:
        """An estimate of every quantity, from the batches so far."""

    @abstractmethod
    def measure(self, inputs: MetricInputs) -> Measurements:
        """Measure the run: every key gets a value or a reason why it has none."""

    def checked_estimates(self) -> dict[str, Estimate]:
        """What `compute` returns. Raises: UserError unless it has scalar estimates of declared quantities."""
        estimates: Any = self.compute()
        name, wanted = type(self).__name__, ", ".join(self.quantities)
        if not isinstance(estimates, dict) or not estimates or not set(estimates) <= set(self.quantities):
            came = ", ".join(map(str, estimates)) if isinstance(estimates, dict) else type(estimates).__name__
            raise UserError(f"{name}.compute gives {came or 'an empty dict'}: give a dict with an Estimate of {wanted}")
        for quantity, estimate in estimates.items():
            if not isinstance(estimate, Estimate):
                raise UserError(f"{name}.compute gives a {type(estimate).__name__} for {quantity}: give an Estimate")
            for number in estimate[:2]:
                if number is not None and (not isinstance(number, Tensor) or number.numel() != 1):
                    came = f"a tensor of shape {tuple(number.shape)}" if isinstance(number, Tensor) else repr(number)
                    raise UserError(f"{name}.compute estimates {quantity} by {came}: give a tensor that is a scalar")
        return estimates

    def add_lists(self, *names: str) -> None:
        """Create attributes that are lists of tensors; they are emptied by `reset` and joined across processes."""
        for name in names:
            self.add_state(name, [], dist_reduce_fx="cat")


class ImageMetric(Metric):
    """A metric of an image set, measured on every set of the run from its pixels."""

    # The sets to measure in addition to those of the samplers.
    other_sets: ClassVar[tuple[str, ...]] = (REAL, RECONSTRUCTION, INTERPOLATION)
    values_kind: ClassVar[str] = "pixels"  # names the values of `values_of` in messages

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Why images of this kind cannot be measured; None if they can."""
        return None

    @abstractmethod
    def prepare_reference(self, inputs: MetricInputs) -> None:
        """Compute what every set is compared with. Called once, before the sets are measured."""

    @abstractmethod
    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W) of the set."""

    def values_of(self, inputs: MetricInputs, set_name: str) -> Tensor:
        """What `update` receives in batches: the images (N, C, H, W) of the set."""
        return inputs.images[set_name]

    @torch.no_grad()
    def measure(self, inputs: MetricInputs) -> Measurements:
        refusal = self.refuses(inputs)
        if not refusal:
            self.prepare_reference(inputs)
        measurements = Measurements()
        for set_name in [*inputs.samplers, *(name for name in self.other_sets if name in inputs.images)]:
            values = self.values_of(inputs, set_name)
            if reason := refusal or not_finite(values, self.values_kind):
                measurements.skip(self.quantities, set_name, reason)
                continue
            self.reset()
            for batch in values.split(CHUNK):
                self.update(batch)
            measurements.add(set_name, self.checked_estimates())
        for set_name, reason in inputs.skipped.items():
            # A sampler, or one of the other sets that this metric measures.
            if set_name in self.other_sets or set_name not in OTHERS:
                measurements.skip(self.quantities, set_name, reason)
        return measurements


class FeatureMetric(ImageMetric):
    """A metric of an image set, measured from its features. It is measured once in every kind of features of a run."""

    values_kind = "features"

    @abstractmethod
    def update(self, features: Tensor) -> None:
        """Add features (B, F) of a batch of the set."""

    def values_of(self, inputs: MetricInputs, set_name: str) -> Tensor:
        """What `update` receives in batches: the features (N, F) of the set."""
        return inputs.features_of(set_name)


class ModelMetric(Metric):
    """A metric of the model on held-out images; its keys end in `/test`."""

    batch_size: int = CHUNK
    latents_per_image: int = 1  # that are decoded at once
    max_images: int | None = None  # number of images to use; None: all
    uses_encoder: ClassVar[bool] = True  # skipped if the codes of the images are not finite

    @abstractmethod
    def refuses(self, inputs: MetricInputs) -> str | None:
        """Why this model cannot be measured; None if it can."""

    @abstractmethod
    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W) of held-out images."""

    def images_at_once(self, model: GenerativeModel) -> int:
        """`batch_size`, or fewer if the model decodes latents to several numbers per pixel."""
        rows = model.backbone.rows_at_once(self.batch_size * self.latents_per_image)
        return max(1, rows // self.latents_per_image)

    @torch.no_grad()
    def measure(self, inputs: MetricInputs) -> Measurements:
        measurements = Measurements()
        if reason := self.refuses(inputs) or (self.uses_encoder and not_finite(inputs.codes, "codes")):
            measurements.skip(self.quantities, TEST, reason)
            return measurements
        self.reset()
        # Held-out images are in random order, so that the first ones are a random sample.
        for batch in inputs.held_out[: self.max_images].split(self.images_at_once(inputs.model)):
            self.update(inputs.model, batch)
        measurements.add(TEST, self.checked_estimates())
        return measurements


class MonteCarloMetric(ModelMetric):
    """The mean over held-out images of a Monte Carlo estimate with `samples` draws of q(z|x) per image.

    Raises: UserError if `samples` is less than 1.
    """

    estimates: list[Tensor]

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        self.samples = check_whole_number(f"metric.{next(iter(self.quantities))}.samples", samples, minimum=1)
        self.latents_per_image = self.samples
        self.add_lists("estimates")

    @abstractmethod
    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """The estimate for each image, (B,)."""

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        self.estimates.append(self.per_image(model, images))

    def compute(self) -> dict[str, Estimate]:
        """The mean over images, under the name of the first quantity."""
        return {next(iter(self.quantities)): mean_of(self.estimates)}


def describe_quantities(metrics: Mapping[str, Metric], levels: int | None) -> dict[str, dict[str, Any]]:
    """Units and direction of every quantity by name, for the record.

    levels: grey levels of which the model's p(x|z) is a probability. Tables compare no numbers with different units, so
        that probabilities of levels are not compared with densities.
    """
    described = {}
    for metric in metrics.values():
        for name, quantity in metric.quantities.items():
            of_levels = f" of {levels} levels" if levels and name in metric.of_pixels else ""
            described[name] = dataclasses.asdict(quantity) | {"units": quantity.units + of_levels}
    return described
