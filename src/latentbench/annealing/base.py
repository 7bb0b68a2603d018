"""The contract of an annealing: what of the regularizer enters the loss at each point of the training."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Annealing(ABC):
    """loss = E[-log p(x|z)] + beta * annealing(R, progress), progress from 0 to 1 over the training."""

    is_weight: ClassVar[bool] = True  # whether it is a number times R

    @abstractmethod
    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        """What takes the place of R, of the same shape."""
