"""The contract of a logger: where a run's curves, numbers and pictures are shown while and after it runs."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger

from latentbench.records.record import Record


class RunLogger(ABC):
    """Shows one run somewhere. A logger that cannot reach its service warns and lets the run go on."""

    @abstractmethod
    def start(
        self,
        *,
        run_dir: Path,
        study: str,
        run_id: str,
        choices: dict[str, Any],
        config: dict[str, Any],
        resumed: bool = False,
    ) -> Logger | None:
        """Open the run; returns the Lightning logger that takes the loss terms of every epoch, if there is one.

        resumed: whether the training goes on from a checkpoint, and so from where its curves were left.
        """

    @abstractmethod
    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        """Show the final metrics and pictures; images: as an Evaluation has them."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """End the run, whatever happened before; safe to call twice or without `start`."""
