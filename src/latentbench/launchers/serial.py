"""One run after the other."""

from collections import Counter
from collections.abc import Sequence

from latentbench.launchers.base import Launcher, SweepProgress
from latentbench.running.job import Job, Outcome


class Serial(Launcher):
    """One run after the other, in this process."""

    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        from latentbench.running.run import run_job  # not at the top: it imports torch, which workers have imported

        outcomes: Counter[Outcome] = Counter()
        with SweepProgress(jobs) as progress:
            for job in jobs:
                progress.start_run(job)
                outcomes[run_job(job)] += 1
                progress.end_run()
        return outcomes
