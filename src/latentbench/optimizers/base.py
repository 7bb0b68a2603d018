"""The contract of an optimizer: how a player's gradients change its weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.errors import UserError, check_number

Betas = tuple[float, float]  # of the first and the second momentum


class Optimizer(ABC):
    """Makes torch's optimizer of each player of a model, such as of a generator and of a discriminator.

    To add one, subclass Optimizer, set `is_capturable` and implement `make`. For every weight that it has changed, the
    state of torch's optimizer has a `step`, the number of its steps.
    """

    # Whether a recorded step may contain its own: with `capturable` in its settings, and the learning rate as a tensor.
    is_capturable: ClassVar[bool]

    @abstractmethod
    def make(self, weights: list[Tensor], *, learning_rate: float, betas: Betas) -> torch.optim.Optimizer:
        """An optimizer of the weights of one player.

        betas: the decay rates of running means that the model asks for, where the option does not set its own
        """


def check_betas(betas: Sequence[float] | None) -> Betas | None:
    """The decay rates of an option; None for those of the model. Raises: UserError if they are not two in [0, 1)."""
    if betas is None:
        return None
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise UserError(f"optimizer.betas={betas}: give two numbers such as [0.9, 0.999], or null")
    first, second = (check_number("optimizer.betas", beta, minimum=0, below=1) for beta in betas)
    return first, second
