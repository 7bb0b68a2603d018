"""The contract of an annealing: how the regularizer enters the loss at each point of the training."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Annealing(ABC):
    """Maps the regularizer R to the term that enters the loss: E[-log p(x|z)] + beta * annealing(R, number(progress)).

    To add one, subclass Annealing and implement `number`, and `__call__` if the term is not the number times R. The
    number must be a function of the progress alone, so that a resumed training continues as if it had not been
    interrupted. It is apart from the term because a CUDA graph computes the term with a new number in every step.
    """

    # True if the result is a number times R. False otherwise: R must then be the KL divergence, in nats.
    is_weight: ClassVar[bool] = True
    # Whether the number depends on the progress, and so on the training's length.
    follows_progress: ClassVar[bool] = True

    @abstractmethod
    def number(self, progress: float) -> float:
        """What changes during training, such as the weight of R.

        progress: share of the training that is done, from 0 to 1.
        """

    def __call__(self, regularization: Tensor, number: float | Tensor) -> Tensor:
        """Return the term that replaces R in the loss, in the shape of R.

        number: as `number` gives it, or a scalar tensor of that value
        """
        return number * regularization
