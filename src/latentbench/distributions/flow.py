"""Autoregressive maps, of which normalizing flows are made."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from latentbench.errors import check_whole_number, check_widths


class Elementwise(NamedTuple):
    """y = f(x; theta), increasing in x, with `parameters` numbers theta for each coordinate."""

    parameters: int
    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # x, theta (..., parameters) -> y, log dy/dx
    inverse: Callable[[Tensor, Tensor], Tensor]  # y, theta (..., parameters) -> x


class Network(NamedTuple):
    """A masked network for one context: theta = last tanh(... tanh(start + first x)) + what is constant."""

    first: Tensor  # (H, D)
    start: Tensor  # (..., H), made of the context
    hidden: Sequence[tuple[Tensor, Tensor]]  # weights and biases
    last: Tensor  # (D, parameters, H)

    def features(self, h: Tensor) -> Tensor:
        """The last hidden layer, given what enters the first."""
        for weight, bias in self.hidden:
            h = linear(h.tanh(), weight, bias)
        return h.tanh()


class AutoregressiveMap:
    """y_i = f(x_i; theta_i), theta_i = constant_i + network_i(x_j of all j before i), and log dy_i/dx_i.

    One pass from x to y, D passes back. Shapes: x and y (..., D), constant (D, parameters).
    """

    def __init__(
        self, elementwise: Elementwise, *, order: Sequence[int], constant: Tensor, network: Network | None
    ) -> None:
        self.elementwise = elementwise
        self.order = order
        self.constant = constant
        self.network = network

    def theta(self, x: Tensor) -> Tensor:
        """theta_i, (..., D, parameters), or without the dimensions in front where nothing is seen."""
        if self.network is None:
            return self.constant
        features = self.network.features(self.network.start + linear(x, self.network.first))
        theta = linear(features, self.network.last.flatten(0, 1), self.constant.flatten())
        return theta.reshape(*theta.shape[:-1], *self.constant.shape)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy_i/dx_i, both (..., D)."""
        return self.elementwise.forward(x, self.theta(x))

    def inverse(self, y: Tensor) -> Tensor:
        """x: coordinate after coordinate, each at the cost of the hidden layers alone."""
        if self.network is None:
            return self.elementwise.inverse(y, self.constant)
        outputs, constant, last = y.unbind(-1), self.constant.unbind(0), self.network.last.unbind(0)
        first, seen = self.network.first.unbind(1), self.network.start
        found: dict[int, Tensor] = {}
        for i in self.order:
            theta = linear(self.network.features(seen), last[i], constant[i])
            found[i] = self.elementwise.inverse(outputs[i], theta)
            seen = torch.addcmul(seen, found[i][..., None], first[i])
        return torch.stack([found[i] for i in range(len(found))], dim=-1)


class MaskedLinear(nn.Linear):
    """An affine layer whose weights are multiplied with a fixed mask."""

    mask: Tensor

    def __init__(self, mask: Tensor, *, bias: bool) -> None:
        super().__init__(mask.shape[1], mask.shape[0], bias=bias)
        self.register_buffer("mask", mask, persistent=False)

    def masked(self) -> Tensor:
        """The weights, (outputs, inputs)."""
        return self.weight * self.mask


class Autoregressive(nn.Module):
    """forward(context: (..., C) or None) -> AutoregressiveMap.

    A hidden unit of degree m sees what has degree m or less: the coordinate at place p of the order, counted from 0,
    has degree p + 1 as an input and p as an output; the context has degree 0. Outputs are divided by the root of the
    last width, so that theta starts near 0. tanh is bounded: far from the origin the map is affine, and neither of its
    directions blows up.
    Source: Germain et al. 2015 (MADE), equations 12-13. The paper draws degrees; we spread them evenly, so that layers
    narrower than D see coordinates of the whole order.
    """

    def __init__(
        self, elementwise: Elementwise, *, coordinates: int, context: int, hidden: Sequence[int], is_reversed: bool
    ) -> None:
        super().__init__()
        self.elementwise = elementwise
        self.coordinates = coordinates
        self.order = range(coordinates)[:: -1 if is_reversed else 1]
        self.constant = nn.Parameter(torch.zeros(coordinates, elementwise.parameters))
        # A lone coordinate without a context has nothing to see: a network's weights would never get a gradient.
        masks = self._masks(context, hidden) if coordinates > 1 or context else []
        self.layers = nn.ModuleList(MaskedLinear(mask, bias=mask is not masks[-1]) for mask in masks)

    def _masks(self, context: int, hidden: Sequence[int]) -> list[Tensor]:
        places = torch.tensor(self.order)  # either order is its own inverse
        lowest = 0 if context else 1
        # From high to low, so that a single unit sees all it may.
        degrees = [torch.linspace(self.coordinates - 1, lowest, width).round() for width in hidden]
        inputs = torch.cat([places + 1, torch.zeros(context)])
        outputs = places.repeat_interleave(self.elementwise.parameters)
        masks = [(after[:, None] >= before).float() for before, after in pairwise([inputs, *degrees, outputs])]
        return [*masks[:-1], masks[-1] / hidden[-1] ** 0.5]

    def forward(self, context: Tensor | None) -> AutoregressiveMap:
        """The map of this context; its weights are masked once, for all passes through it."""
        return AutoregressiveMap(
            self.elementwise, order=self.order, constant=self.constant, network=self._network(context)
        )

    def _network(self, context: Tensor | None) -> Network | None:
        layers = [(layer.masked(), layer.bias) for layer in self.layers if isinstance(layer, MaskedLinear)]
        if not layers:
            return None
        (weight, bias), *hidden, (last, _) = layers
        start = bias if context is None else linear(context, weight[:, self.coordinates :], bias)
        return Network(weight[:, : self.coordinates], start, hidden, last.reshape(*self.constant.shape, -1))


def checked(group: str, transforms: int, hidden: Sequence[int]) -> None:
    """Raises: UserError for numbers of which no flow can be made."""
    check_whole_number(f"{group}.transforms", transforms, minimum=1)
    check_widths(f"{group}.hidden", hidden)
