"""Constant weight."""

from torch import Tensor

from latentbench.schedules.base import Schedule


class Constant(Schedule):
    """R itself, all the time."""

    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        """R."""
        return regularization
