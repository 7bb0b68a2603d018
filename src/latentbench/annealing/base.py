"""The contract of an annealing: how the regularizer enters the loss at each point of the training."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Annealing(ABC):
    """Maps the regularizer R to the term that enters the loss: E[-log p(x|z)] + beta * annealing(R, progress).

    To add one, subclass Annealing and implement `__call__`. It must be a function of R and of the progress alone, so
    that a resumed training continues as if it had not been interrupted.
    """

    # True if the result is a number times R. False otherwise: R must then be the KL divergence, in nats.
    is_weight: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        """Return the term that replaces R in the loss, in the shape of R.

        progress: share of the training that is done, from 0 to 1.
        """
