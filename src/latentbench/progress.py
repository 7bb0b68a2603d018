"""Bars and messages: where a run and a sweep are, and how long they will take."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from tqdm import tqdm

log = logging.getLogger(__name__)


class BarFriendlyHandler(logging.Handler):
    """Writes messages to standard error above the bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        tqdm.write(self.format(record), file=sys.stderr)


class EpochBar(pl.Callback):
    """One bar for the whole training, in epochs; silent where standard error is no terminal."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self.bar = tqdm(total=trainer.max_epochs, desc="training", unit="epoch", leave=False, disable=None)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One epoch further."""
        losses = {k.removeprefix("train/"): f"{v:.4g}" for k, v in trainer.callback_metrics.items() if "train/" in k}
        self.bar.set_postfix(losses)
        self.bar.update()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar, also after an exception."""
        if hasattr(self, "bar"):
            self.bar.close()


class SweepProgress(Callback):
    """A sweep's bar: run k of n and the time left. Hydra calls it around the sweep and around each of its runs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Count the runs."""
        params = config.hydra.sweeper.params or {}
        asked = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
        overrides = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(asked)
        self.total = len(BasicSweeper.split_arguments(overrides, None)[0])
        self.bar = tqdm(total=self.total, desc=f"sweep {config.study}", unit="run", disable=None)
        self.done = 0
        self.started = time.monotonic()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say which run begins."""
        if hasattr(self, "bar"):
            log.info("run %d of %d: %s", self.done + 1, self.total, " ".join(config.hydra.overrides.task))

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """One run further."""
        if hasattr(self, "bar"):
            self.bar.update()
            self.done += 1
            seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            if self.bar.disable and self.done < self.total:
                log.info("about %d min %02d s left", *divmod(round(seconds), 60))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar.close()
