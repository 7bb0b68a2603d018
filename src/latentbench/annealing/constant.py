"""Constant weight."""

from typing import ClassVar

from torch import Tensor

from latentbench.annealing.base import Annealing


class Constant(Annealing):
    """R itself during the whole training."""

    follows_progress: ClassVar[bool] = False

    def number(self, progress: float) -> float:
        return 1.0

    def __call__(self, regularization: Tensor, number: float | Tensor) -> Tensor:
        return regularization
