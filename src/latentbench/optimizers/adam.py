"""Adam."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentbench.errors import check_number
from latentbench.optimizers.base import Betas, Optimizer, check_betas


class Adam(Optimizer):
    """Adaptive moment estimation; weight_decay adds weight_decay * w to the gradient of a weight w.

    Source: Kingma & Ba 2015, algorithm 1.
    """

    is_capturable = True

    def __init__(self, *, betas: Sequence[float] | None, eps: float, weight_decay: float) -> None:
        self.betas = check_betas(betas)
        self.eps = check_number("optimizer.eps", eps, above=0)
        self.weight_decay = check_number("optimizer.weight_decay", weight_decay, minimum=0)

    def make(self, weights: list[Tensor], *, learning_rate: float, betas: Betas) -> torch.optim.Optimizer:
        return LeanAdam(
            weights, lr=learning_rate, betas=self.betas or betas, eps=self.eps, weight_decay=self.weight_decay
        )


class LeanAdam(torch.optim.Adam):
    """torch's fused Adam without the bookkeeping of its step, which takes as long as a layer of a small network.

    It has the same bits. From the second step on, its kernel is called on lists made once.
    """

    def __init__(self, parameters: Any, **settings: Any) -> None:
        super().__init__(parameters, fused=True, **settings)
        self._lists: list[list[Tensor]] = []  # weights, means and mean squares of gradients, and numbers of steps

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of the weights that have a gradient."""
        (group,) = self.param_groups
        weights: list[Tensor] = group["params"]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        all_have_one = len(gradients) == len(weights)
        # Mixed precision of 16 bits leaves the scale of gradients here for torch's step to undo.
        is_scaled = getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None
        if not self._lists or not all_have_one or is_scaled:
            super().step(closure)
            self._lists = []
            if all_have_one:
                states = [self.state[weight] for weight in weights]
                self._lists = [[state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step")]
            return
        averages, squares, steps = self._lists
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            weights,
            gradients,
            averages,
            squares,
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; the lists are made anew."""
        super().load_state_dict(state_dict)
        self._lists = []
