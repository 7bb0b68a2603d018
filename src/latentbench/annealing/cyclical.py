"""Cyclical annealing."""

from torch import Tensor

from latentbench.annealing.base import Annealing
from latentbench.errors import check_number, check_whole_number


class Cyclical(Annealing):
    """min(1, u / share) R with u = (cycles t) mod 1: in each cycle from nothing to all of it, then all of it.

    Source: Fu et al. 2019, equations 6-7.
    """

    def __init__(self, *, cycles: int, share: float) -> None:
        self.cycles = check_whole_number("annealing.cycles", cycles, minimum=1)
        self.share = check_number("annealing.share", share, above=0, maximum=1)

    def __call__(self, regularization: Tensor, progress: float) -> Tensor:
        """min(1, u / share) R."""
        return min(1.0, (self.cycles * progress) % 1 / self.share) * regularization
