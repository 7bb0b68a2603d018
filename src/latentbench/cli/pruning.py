"""The logger of a trial of `latentbench-tune`: ends trainings that fall behind."""

import warnings
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger

from latentbench.loggers.base import RunInfo, RunLogger
from latentbench.records.record import Record

VALIDATION_LOSS = "validation/loss"


class Pruned(Exception):
    """The validation loss is worse than that of most other trials at the same epoch."""


class PruningLogger(RunLogger):
    """Shows a run by another logger, and reports its validation losses to Optuna, which may end it.

    storage, study, trial: where Optuna keeps its studies, the name of one, and the id of a trial in the storage
    shown: the other logger
    """

    def __init__(self, *, storage: str, study: str, trial: int, shown: RunLogger) -> None:
        self.storage, self.study, self.trial, self.shown = storage, study, trial, shown

    def start(self, run: RunInfo) -> Logger:
        import optuna  # not at the top: it is an extra

        study = optuna.load_study(study_name=self.study, storage=self.storage)
        return Reports(optuna.trial.Trial(study, self.trial), self.shown.start(run))

    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        self.shown.finish(record, images)

    def close(self, *, failed: bool) -> None:
        self.shown.close(failed=failed)


class Reports(Logger):
    """Lightning's logger of one trial. trial: Optuna's; shown: where curves are shown, if anywhere"""

    def __init__(self, trial: Any, shown: Logger | None) -> None:
        super().__init__()
        self.trial, self.shown = trial, shown

    @property
    def name(self) -> str | None:
        return self.shown.name if self.shown else None

    @property
    def version(self) -> int | str | None:
        return self.shown.version if self.shown else None

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        if self.shown:
            self.shown.log_hyperparams(*args, **kwargs)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Raises: Pruned if the validation loss of an epoch is worse than that of most trials."""
        if self.shown:
            self.shown.log_metrics(metrics, step)
        if VALIDATION_LOSS not in metrics:
            return
        epoch = int(metrics["epoch"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an epoch after an interruption is reported twice
            self.trial.report(metrics[VALIDATION_LOSS], epoch)
        if self.trial.should_prune():
            raise Pruned(f"its validation loss after epoch {epoch + 1} is worse than that of most trials")

    def finalize(self, status: str) -> None:
        if self.shown:
            self.shown.finalize(status)
