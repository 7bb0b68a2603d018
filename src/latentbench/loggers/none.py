"""The logger for runs without a service."""

import numpy as np

from latentbench.loggers.base import RunInfo, RunLogger
from latentbench.records.record import Record


class NoLogger(RunLogger):
    """Shows nothing."""

    def start(self, run: RunInfo) -> None:
        pass

    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        pass

    def close(self, *, failed: bool) -> None:
        pass
