"""Autoregressive maps, the building blocks of normalizing flows."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from latentbench.errors import check_whole_number, check_widths


class Elementwise(NamedTuple):
    """An increasing function y = f(x; theta) of one coordinate, where theta holds `parameters` numbers."""

    parameters: int
    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # x, theta (..., parameters) -> y, log dy/dx
    inverse: Callable[[Tensor, Tensor], Tensor]  # y, theta (..., parameters) -> x


class MaskedNetwork(NamedTuple):
    """The weights of a masked network for one context: theta = last tanh(... tanh(first x + first_bias)) + constant.

    The constant is the one of AutoregressiveMap.
    """

    first: Tensor  # (H, D)
    first_bias: Tensor  # (..., H), includes the contribution of the context
    hidden: Sequence[tuple[Tensor, Tensor]]  # weights and biases
    last: Tensor  # (D, parameters, H)

    def last_hidden(self, h: Tensor) -> Tensor:
        """The last hidden layer, (..., H'), computed from the first layer before its tanh, (..., H)."""
        for weight, bias in self.hidden:
            h = linear(h.tanh(), weight, bias)
        return h.tanh()


class AutoregressiveMap:
    """y_i = f(x_i; theta_i) with theta_i = constant_i + network_i(all x_j before x_i in the order).

    Computing y from x takes one pass through the network, computing x from y takes D passes.
    Shape: x and y (..., D); constant (D, parameters). Without a network, theta is the constant.
    """

    def __init__(
        self, elementwise: Elementwise, *, order: Sequence[int], constant: Tensor, network: MaskedNetwork | None
    ) -> None:
        self.elementwise = elementwise
        self.order = order
        self.constant = constant
        self.network = network

    def theta(self, x: Tensor) -> Tensor:
        """The parameters of f, (..., D, parameters), or (D, parameters) if there is no network."""
        if self.network is None:
            return self.constant
        last_hidden = self.network.last_hidden(self.network.first_bias + linear(x, self.network.first))
        theta = linear(last_hidden, self.network.last.flatten(0, 1), self.constant.flatten())
        return theta.reshape(*theta.shape[:-1], *self.constant.shape)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy_i/dx_i, both (..., D)."""
        return self.elementwise.forward(x, self.theta(x))

    def inverse(self, y: Tensor) -> Tensor:
        """Compute x from y, one coordinate after another. Each coordinate costs one pass through the hidden layers."""
        if self.network is None:
            return self.elementwise.inverse(y, self.constant)
        outputs, constant, last = y.unbind(-1), self.constant.unbind(0), self.network.last.unbind(0)
        first, first_layer = self.network.first.unbind(1), self.network.first_bias
        x: dict[int, Tensor] = {}
        for i in self.order:
            theta = linear(self.network.last_hidden(first_layer), last[i], constant[i])
            x[i] = self.elementwise.inverse(outputs[i], theta)
            first_layer = torch.addcmul(first_layer, x[i][..., None], first[i])
        return torch.stack([x[i] for i in range(len(x))], dim=-1)


class MaskedLinear(nn.Linear):
    """A linear layer whose weights are multiplied by a fixed mask."""

    mask: Tensor

    def __init__(self, mask: Tensor, *, bias: bool) -> None:
        super().__init__(mask.shape[1], mask.shape[0], bias=bias)
        self.register_buffer("mask", mask, persistent=False)

    def masked(self) -> Tensor:
        """The masked weights, (outputs, inputs)."""
        return self.weight * self.mask


class Autoregressive(nn.Module):
    """A masked network that turns a context into an autoregressive map: forward(context) -> AutoregressiveMap.

    Every unit has a degree, and is connected to units of the previous layer with at most its own degree. The
    coordinate at position p of the order, counted from 0, has degree p + 1 as an input and degree p as an output. The
    context has degree 0. The outputs are divided by the square root of the last width, so that theta starts near 0.
    tanh is bounded, so the map is affine far from the origin and neither it nor its inverse blows up.
    Shape: context (..., C), or None for C = 0.
    Source: Germain et al. 2015 (MADE), equations 12-13. The paper draws the degrees at random. We space them evenly,
    so that a layer narrower than D still sees coordinates from the whole order.
    """

    def __init__(
        self, elementwise: Elementwise, *, coordinates: int, context: int, hidden: Sequence[int], is_reversed: bool
    ) -> None:
        super().__init__()
        self.elementwise = elementwise
        self.coordinates = coordinates
        self.order = range(coordinates)[:: -1 if is_reversed else 1]
        self.constant = nn.Parameter(torch.zeros(coordinates, elementwise.parameters))
        # A single coordinate without a context has no input: the weights of a network would never get a gradient.
        masks = self._masks(context, hidden) if coordinates > 1 or context else []
        self.layers = nn.ModuleList(MaskedLinear(mask, bias=mask is not masks[-1]) for mask in masks)

    def _masks(self, context: int, hidden: Sequence[int]) -> list[Tensor]:
        positions = torch.tensor(self.order)  # each of the two orders is its own inverse
        min_degree = 0 if context else 1
        # In decreasing order, so that a layer of one unit sees all inputs that it may see.
        degrees = [torch.linspace(self.coordinates - 1, min_degree, width).round() for width in hidden]
        inputs = torch.cat([positions + 1, torch.zeros(context)])
        outputs = positions.repeat_interleave(self.elementwise.parameters)
        masks = [(after[:, None] >= before).float() for before, after in pairwise([inputs, *degrees, outputs])]
        return [*masks[:-1], masks[-1] / hidden[-1] ** 0.5]

    def forward(self, context: Tensor | None) -> AutoregressiveMap:
        """The map for this context. Its weights are masked once, for all passes through it."""
        return AutoregressiveMap(
            self.elementwise, order=self.order, constant=self.constant, network=self._network(context)
        )

    def _network(self, context: Tensor | None) -> MaskedNetwork | None:
        layers = [(layer.masked(), layer.bias) for layer in self.layers if isinstance(layer, MaskedLinear)]
        if not layers:
            return None
        (weight, bias), *hidden, (last, _) = layers
        first_bias = bias if context is None else linear(context, weight[:, self.coordinates :], bias)
        last = last.reshape(*self.constant.shape, -1)
        return MaskedNetwork(weight[:, : self.coordinates], first_bias, hidden, last)


def check_flow_settings(group: str, transforms: int, hidden: Sequence[int]) -> None:
    """Raises: UserError if there is not at least one map, or a width is not a whole number of at least 1."""
    check_whole_number(f"{group}.transforms", transforms, minimum=1)
    check_widths(f"{group}.hidden", hidden)
