"""What a player's steps remember beside its optimizer: gathered gradients, and averages of its weights."""

import math
from typing import Any

import torch
from torch import Tensor

from latentbench.models.recipe import Recipe


class PlayerMemory:
    """Gathers and clips the gradients of one player, and averages its weights.

    gathered gradient: mean over `accumulate` batches
    average after n steps: sum_i ema^(n-i) w_i / sum_i ema^(n-i), i = 1..n, so that it does not remember initial weights
    """

    def __init__(self, weights: list[Tensor], recipe: Recipe) -> None:
        self.weights = weights
        self.recipe = recipe
        self.batches = 0  # gathered since the last step
        self.sums: list[Tensor | None] = [None] * len(weights)  # of gradients
        self.averages = [torch.zeros_like(weight) for weight in weights if recipe.ema]
        # On the device, where a CUDA graph counts.
        self.steps = torch.zeros((), device=weights[0].device)

    def is_due(self) -> bool:
        """Take up the gradients of a batch. Returns whether the optimizer takes a step with those that there are."""
        if self.recipe.accumulate > 1 and not self._gather():
            return False
        if self.recipe.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.recipe.gradient_clip)
        return True

    def _gather(self) -> bool:
        self.batches += 1
        for index, weight in enumerate(self.weights):
            if weight.grad is not None:
                gathered = self.sums[index]
                self.sums[index] = weight.grad if gathered is None else gathered.add_(weight.grad)
        if self.batches < self.recipe.accumulate:
            return False
        for weight, gathered in zip(self.weights, self.sums, strict=True):
            weight.grad = None if gathered is None else gathered.div_(self.recipe.accumulate)
        self.batches, self.sums = 0, [None] * len(self.weights)
        return True

    @torch.no_grad()
    def average(self) -> None:
        """Take the weights after a step into the average."""
        if self.recipe.ema is None:
            return
        self.steps.add_(1)
        # (1 - ema) / (1 - ema^n), exact for small n, too.
        share = (self.recipe.ema - 1) / torch.expm1(self.steps * math.log(self.recipe.ema))
        differences = torch._foreach_sub(self.weights, self.averages)
        torch._foreach_mul_(differences, share)
        torch._foreach_add_(self.averages, differences)

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap weights and averages, in place; twice is as before. Before the first step it does nothing."""
        if self.averages and self.steps > 0:
            for weight, average in zip(self.weights, self.averages, strict=True):
                kept = weight.clone()
                weight.copy_(average)
                average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers, for the checkpoint."""
        return {"batches": self.batches, "sums": self.sums, "averages": self.averages, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what a checkpoint does."""
        device = self.steps.device
        self.batches = state["batches"]
        self.sums = [None if each is None else each.to(device) for each in state["sums"]]
        self.averages = [average.to(device) for average in state["averages"]]
        self.steps.copy_(state["steps"])
