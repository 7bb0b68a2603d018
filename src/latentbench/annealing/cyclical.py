"""Cyclical annealing of the weight."""

from latentbench.annealing.base import Annealing
from latentbench.errors import check_number, check_whole_number


class Cyclical(Annealing):
    """min(1, u / share) R with u = (cycles t) mod 1: in each cycle the weight grows from 0 to 1, then stays at 1.

    Source: Fu et al. 2019, equations 6-7.
    """

    def __init__(self, *, cycles: int, share: float) -> None:
        self.cycles = check_whole_number("annealing.cycles", cycles, minimum=1)
        self.share = check_number("annealing.share", share, above=0, maximum=1)

    def number(self, progress: float) -> float:
        """The weight."""
        return min(1.0, (self.cycles * progress) % 1 / self.share)
