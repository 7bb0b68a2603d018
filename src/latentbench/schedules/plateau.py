"""Learning rates that fall when the validation loss does not."""

import math
from collections.abc import Sequence

from latentbench.errors import check_number, check_whole_number
from latentbench.schedules.base import Schedule


class Plateau(Schedule):
    """Times `ratio` whenever the last `patience` epochs brought no new smallest validation loss; at least `end`."""

    follows_validation = True
    follows_progress = False

    def __init__(self, *, patience: int, ratio: float, end: float) -> None:
        self.patience = check_whole_number("schedule.patience", patience, minimum=1)
        self.ratio = check_number("schedule.ratio", ratio, above=0, below=1)
        self.end = check_number("schedule.end", end, minimum=0, maximum=1)

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        factor, best, waited = 1.0, math.inf, 0
        for loss in losses:
            waited = 0 if loss < best else waited + 1
            best = min(best, loss)
            if waited == self.patience:
                factor, waited = max(factor * self.ratio, self.end), 0
        return factor
