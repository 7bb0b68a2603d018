"""One run after the other."""

from collections import Counter
from collections.abc import Sequence

from latentbench.launchers.base import Launcher, SweepProgress
from latentbench.running.job import Job
from latentbench.running.train import attempt


class Serial(Launcher):
    """One run after the other, in this process."""

    def launch(self, jobs: Sequence[Job]) -> Counter[str]:
        """Run all."""
        outcomes: Counter[str] = Counter()
        with SweepProgress(jobs) as progress:
            for job in jobs:
                progress.begin(job)
                outcomes[attempt(job)] += 1
                progress.end()
        return outcomes
