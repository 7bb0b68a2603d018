"""Cyclical annealing."""

from torch import Tensor

from latentbench.errors import number, whole_number
from latentbench.schedules.base import Schedule


class Cyclical(Schedule):
    """min(1, u / share) R with u = (cycles t) mod 1: in each cycle from nothing to all of it, then all of it.

    Source: Fu et al. 2019, equations 6-7.
    """

    def __init__(self, *, cycles: int, share: float) -> None:
        self.cycles = whole_number("schedule.cycles", cycles, least=1)
        self.share = number("schedule.share", share, above=0, most=1)

    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        """min(1, u / share) R."""
        return min(1.0, (self.cycles * progress) % 1 / self.share) * regularization
