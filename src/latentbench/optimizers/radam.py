"""RAdam: Adam with a rectified step."""

import torch
from torch import Tensor

from latentbench.optimizers.adam import Adam
from latentbench.optimizers.base import Betas


class RAdam(Adam):
    """Adam whose step is rectified while the mean of squared gradients is still of few.

    With the usual betas the first five steps are not divided by its root: they are as long as the gradients.
    weight_decay is decoupled, as in AdamW. Source: Liu et al. 2020, algorithm 2, as in torch.optim.RAdam.
    """

    is_capturable = False  # the processor counts the steps, to tell when the rectification begins

    def make(self, weights: list[Tensor], *, learning_rate: float, betas: Betas) -> torch.optim.Optimizer:
        return torch.optim.RAdam(
            weights,
            lr=learning_rate,
            betas=self.betas or betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=True,
        )
