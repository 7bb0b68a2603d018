"""AdamW: Adam with decoupled weight decay."""

import torch
from torch import Tensor

from latentbench.optimizers.adam import Adam
from latentbench.optimizers.base import Betas


class AdamW(Adam):
    """Adam whose weights also shrink by learning rate * weight_decay of themselves in each step.

    Source: Loshchilov & Hutter 2019, algorithm 2, as in torch.optim.AdamW.
    """

    def make(self, weights: list[Tensor], *, learning_rate: float, betas: Betas) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            weights,
            lr=learning_rate,
            betas=self.betas or betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
