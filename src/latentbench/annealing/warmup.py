"""Linear warm-up of the weight."""

from latentbench.annealing.base import Annealing
from latentbench.errors import check_number


class Warmup(Annealing):
    """min(1, t / share) R: the weight grows linearly from 0 to 1 during the first `share` of the training.

    Source: Bowman et al. 2016, section 3.1 (KL cost annealing). The linear form is that of Soenderby et al. 2016,
    section 2.3.
    """

    def __init__(self, *, share: float) -> None:
        self.share = check_number("annealing.share", share, above=0, maximum=1)

    def number(self, progress: float) -> float:
        """The weight."""
        return min(1.0, progress / self.share)
