"""Constant weight."""

from torch import Tensor

from latentbench.annealing.base import Annealing


class Constant(Annealing):
    """R itself, all the time."""

    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        """R."""
        return regularization
