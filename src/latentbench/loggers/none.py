"""No logger."""

from pathlib import Path
from typing import Any

import numpy as np

from latentbench.loggers.base import RunLogger
from latentbench.records.record import Record


class NoLogger(RunLogger):
    """Shows nothing: the record is all there is."""

    def start(
        self,
        *,
        run_dir: Path,
        study: str,
        run_id: str,
        choices: dict[str, Any],
        config: dict[str, Any],
        resumed: bool = False,
    ) -> None:
        """Nothing to open."""

    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        """Nothing to show."""

    def close(self, *, failed: bool) -> None:
        """Nothing to close."""
