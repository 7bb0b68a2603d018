"""The contract of a logger: it shows a run's curves, numbers and images while and after it runs."""

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger

from latentbench.records.record import Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What a logger knows about a run when it starts. The first five fields are as in the record.

    resumed: whether training, and so the curves, continue from a checkpoint
    """

    run_id: str
    study: str
    choices: dict[str, Any]
    preset: dict[str, Any]
    config: dict[str, Any]
    folder: Path
    resumed: bool = False


class RunLogger(ABC):
    """Shows one run. A logger that cannot reach its service warns and lets the run continue."""

    @abstractmethod
    def start(self, run: RunInfo) -> Logger | None:
        """Open the run; returns the Lightning logger for the losses of every epoch, if there is one."""

    @abstractmethod
    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        """Show the final metrics and images; images: as in Evaluation."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Close the run, whatever its outcome; may be called twice, or without `start`."""
