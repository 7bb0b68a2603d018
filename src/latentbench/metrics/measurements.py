"""What a metric returns: estimates with standard errors and caveats, or reasons why a quantity was skipped."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.records.keys import View


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Units and direction of a measured quantity."""

    units: str  # "" for none
    higher_is_better: bool | None  # None: neither direction is better by itself


class Estimate(NamedTuple):
    """The value of a quantity, a scalar, with its standard error and a caveat."""

    value: Tensor
    standard_error: Tensor | None  # in the units of the value; None if undefined, or for a setting the metric chose
    caveat: str = ""  # what a reader must know before using the value

    def divided_by(self, scale: Tensor | float) -> "Estimate":
        """The estimate in units that are `scale` times as large."""
        error = self.standard_error
        return self._replace(value=self.value / scale, standard_error=None if error is None else error / scale)


@dataclasses.dataclass
class Measurements:
    """Everything that one or several metrics measured, by key `quantity/set_name`."""

    values: dict[str, float] = dataclasses.field(default_factory=dict)
    standard_errors: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)  # why a key has no value
    caveats: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, set_name: str, estimates: Mapping[str, Estimate]) -> None:
        """Add the estimates of one image set, by quantity."""
        for quantity, (value, error, caveat) in estimates.items():
            key = f"{quantity}/{set_name}"
            self.values[key] = value.item()
            if error is not None:
                self.standard_errors[key] = error.item()
            if caveat:
                self.caveats[key] = caveat

    def skip(self, quantities: Mapping[str, Quantity], set_name: str, reason: str) -> None:
        """Record why an image set has none of these quantities."""
        self.skipped |= {f"{quantity}/{set_name}": reason for quantity in quantities}

    def warn(self, caveat: str) -> None:
        """Add a caveat, unless it is empty, to every value."""
        if caveat:
            self.caveats |= {key: "; ".join(filter(None, [self.caveats.get(key), caveat])) for key in self.values}

    def seen(self, view: View) -> "Measurements":
        """The same under the keys of a record, which say how it was measured."""

        def renamed(content: dict[str, Any]) -> dict[str, Any]:
            keys = {key: key.partition("/") for key in content}
            return {f"{quantity}/{view.recorded(name)}": content[key] for key, (quantity, _, name) in keys.items()}

        return Measurements(**{field.name: renamed(getattr(self, field.name)) for field in dataclasses.fields(self)})

    def merge(self, other: "Measurements") -> None:
        """Add everything that another metric measured."""
        self.values |= other.values
        self.standard_errors |= other.standard_errors
        self.skipped |= other.skipped
        self.caveats |= other.caveats


def mean_of(values: Tensor | list[Tensor]) -> Estimate:
    """Mean of values (N,), or of a list of such tensors, with its standard error; in float64."""
    exact = dim_zero_cat(values).double()
    return Estimate(exact.mean(), standard_error(exact))


def standard_error(values: Tensor) -> Tensor:
    """s / sqrt(N), the standard error of the mean of values (N,); NaN for a single value."""
    return values.std() / math.sqrt(len(values)) if len(values) > 1 else values.new_tensor(math.nan)


def share_variance(share: Tensor, n: int) -> Tensor:
    """Variance of a share of n: that of (x + 2) / (n + 4) for x of n, which is not 0 for shares of 0 and 1.

    Source: Agresti & Coull 1998.
    """
    adjusted = (share * n + 2) / (n + 4)
    return adjusted * (1 - adjusted) / (n + 4)
