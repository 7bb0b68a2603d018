"""Constant weight."""

from torch import Tensor

from latentbench.annealing.base import Annealing


class Constant(Annealing):
    """R itself during the whole training."""

    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        return regularization
