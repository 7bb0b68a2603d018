"""Constant learning rates."""

from collections.abc import Sequence

from latentbench.schedules.base import Schedule


class Constant(Schedule):
    """1 during the whole training."""

    is_constant = True
    follows_progress = False

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        return 1.0
