"""Stochastic gradient descent."""

from typing import Any

import torch
from torch import Tensor

from latentbench.errors import UserError, check_number
from latentbench.optimizers.base import Betas, Optimizer


class SGD(Optimizer):
    """w -= learning rate * v, with v = momentum * v + g + weight_decay * w, for gradients g.

    nesterov: take momentum * v + g in place of v. Raises: UserError for nesterov without momentum.
    Source: Sutskever et al. 2013, as in torch.optim.SGD, whose documentation says where it differs.
    """

    is_capturable = False  # the learning rate is read on the processor

    def __init__(self, *, momentum: float | None, nesterov: bool, weight_decay: float) -> None:
        self.momentum = None if momentum is None else check_number("optimizer.momentum", momentum, minimum=0, below=1)
        if type(nesterov) is not bool:
            raise UserError(f"optimizer.nesterov={nesterov}: give true or false")
        self.nesterov = nesterov
        self.weight_decay = check_number("optimizer.weight_decay", weight_decay, minimum=0)

    def make(self, weights: list[Tensor], *, learning_rate: float, betas: Betas) -> torch.optim.Optimizer:
        momentum = betas[0] if self.momentum is None else self.momentum
        if self.nesterov and momentum == 0:
            raise UserError("optimizer.nesterov=true needs momentum: set optimizer.momentum=0.9, for example")
        return CountingSGD(
            weights, lr=learning_rate, momentum=momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )


class CountingSGD(torch.optim.SGD):
    """torch's SGD, which also counts the steps of each weight, as torch's other optimizers do."""

    def step(self, closure: Any = None) -> Any:
        """One step of the weights that have a gradient."""
        loss = super().step(closure)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.state[weight]["step"] = self.state[weight].get("step", 0) + 1
        return loss
