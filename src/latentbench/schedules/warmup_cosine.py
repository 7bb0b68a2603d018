"""Linear warm-up, then half a period of a cosine."""

import math
from collections.abc import Sequence

from latentbench.errors import check_number
from latentbench.schedules.base import Schedule


class WarmupCosine(Schedule):
    """start + (1 - start) t / warmup; from then on end + (1 - end) (1 + cos(pi s)) / 2.

    s = (t - warmup) / (1 - warmup), and t is the share of the training that is done.
    Source: Loshchilov & Hutter 2017, equation 5, without restarts; warm-up: Goyal et al. 2017, section 2.2.
    """

    def __init__(self, *, warmup: float, start: float, end: float) -> None:
        self.warmup = check_number("schedule.warmup", warmup, minimum=0, below=1)
        self.start = check_number("schedule.start", start, above=0, maximum=1)
        self.end = check_number("schedule.end", end, minimum=0, maximum=1)

    def factor(self, progress: float, losses: Sequence[float]) -> float:
        if progress < self.warmup:
            return self.start + (1 - self.start) * progress / self.warmup
        share = (progress - self.warmup) / (1 - self.warmup)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * share)) / 2
