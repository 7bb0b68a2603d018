"""Learning rates that fall in steps."""

from collections.abc import Sequence

from latentbench.errors import UserError, check_number
from latentbench.schedules.base import Schedule


class Step(Schedule):
    """ratio^n after n of the points of time in `at`, each a share of the training."""

    def __init__(self, *, at: Sequence[float], ratio: float) -> None:
        if not isinstance(at, Sequence) or isinstance(at, str) or not at:
            raise UserError(f"schedule.at={at}: give a list of shares of the training, such as [0.5, 0.75]")
        self.at = [check_number("schedule.at", share, above=0, below=1) for share in at]
        self.ratio = check_number("schedule.ratio", ratio, above=0, below=1)

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        return float(self.ratio ** sum(progress >= share for share in self.at))
