"""The contract of a schedule: how the learning rates change during the training."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class Schedule(ABC):
    """Multiplies the learning rates of all players of a model by one factor, which changes during the training.

    To add one, subclass Schedule and implement `factor`. The factor must be a function of its arguments alone, so that
    a resumed training continues as if it had not been interrupted.
    """

    is_constant: ClassVar[bool] = False  # whether the factor is always 1
    follows_validation: ClassVar[bool] = False  # whether the factor depends on the validation losses
    follows_progress: ClassVar[bool] = True  # whether it depends on the progress, and so on the training's length

    @abstractmethod
    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """What multiplies the learning rates in a step.

        progress: share of the training that is done, from 0 to 1
        losses: the validation loss after each epoch so far
        """
