"""Weights & Biases: curves while a run trains, its final numbers and pictures when it ends."""

import contextlib
import functools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from pytorch_lightning.loggers import WandbLogger

from latentbench.loggers.base import RunLogger
from latentbench.record import Record

_log = logging.getLogger(__name__)

TAGS = (
    "method", "data", "model", "backbone", "posterior", "prior", "regularizer", "likelihood", "objective", "schedule",
)  # fmt: skip
COLUMNS = 8
SUMMARY_OF = {True: "max", False: "min", None: "last"}  # by higher_is_better
# A sweep stays readable and quick: no banners, no capture of stdout; commit and hardware are in the record.
QUIET: dict[str, Any] = {"silent": True, "console": "off", "disable_git": True, "x_disable_stats": True}
# Seconds; wandb alone would wait for a lost network for ever at the end of a run.
PATIENCE: dict[str, Any] = {"init_timeout": 15, "finish_timeout": 60, "finish_timeout_raises": True}


class WeightsAndBiases(RunLogger):
    """One W&B run per run, grouped by study; offline (under `run_dir`/wandb) where W&B cannot be reached.

    No failure of W&B ends a run: it costs a warning, and the record is written by others.
    """

    def __init__(self, *, project: str, entity: str | None) -> None:
        self.project = project
        self.entity = entity
        self._run: wandb.Run | None = None

    def start(
        self, *, run_dir: Path, study: str, run_id: str, choices: dict[str, Any], config: dict[str, Any]
    ) -> WandbLogger | None:
        """Open the run; None if W&B is disabled or cannot even write to the disk."""
        try:
            mode = _mode()
        except Exception as error:
            _warn("cannot be started", error)
            return None
        if mode == "disabled":
            return None
        for attempt in dict.fromkeys((mode, "offline")):
            try:
                self._run = wandb.init(
                    mode=attempt,
                    project=self.project,
                    entity=self.entity,
                    group=study,
                    job_type=choices["method"],
                    name=run_id,
                    dir=run_dir,
                    tags=[f"{group}={choices[group]}" for group in TAGS if choices.get(group)],
                    config=config | {"choices": choices},
                    # A run that was left open would be continued instead.
                    reinit="finish_previous",
                    settings=wandb.Settings(**QUIET, **PATIENCE),
                )
                # Lightning's step counts every optimizer's, so two methods would not share an axis.
                self._run.define_metric("trainer/global_step", hidden=True)
                self._run.define_metric("epoch", hidden=True)
                for stage in ("train", "validation"):
                    self._run.define_metric(f"{stage}/*", step_metric="epoch")
                return _Curves(experiment=self._run, project=self.project, save_dir=run_dir)
            except Exception as error:
                self.close(failed=True)
                _warn(f"cannot open an {attempt} run of {run_id}", error)
        return None

    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        """Final metrics with their direction, status, skipped reasons and warnings in the summary; a grid per key."""
        if self._run is None:
            return
        try:
            resolved = record.config.get("resolved", {})
            self._run.config["resolved"] = resolved
            for key in record.metrics:
                about = resolved.get("metrics", {}).get(key.split("/")[0], {})
                self._run.define_metric(key, summary=SUMMARY_OF[about.get("higher_is_better")])
            skipped = {f"skipped/{key}": reason for key, reason in record.skipped.items()}
            ending = {"status": record.status} | ({"reason": record.reason} if record.reason else {})
            warned = {f"warnings/{key}": text for key, text in record.warnings.items()}
            errors = {f"errors/{key}": error for key, error in record.errors.items()}
            whole = {"record": record.line()}  # of which tables are made; the others are for W&B's own views
            self._run.summary.update(record.metrics | errors | skipped | warned | ending | whole)
            if images:
                self._run.log({f"images/{of}": wandb.Image(grid(i), caption=of) for of, i in images.items()})
        except Exception as error:
            _warn(f"cannot show the results of {record.run_id}; its record has them", error)

    def close(self, *, failed: bool) -> None:
        """End the W&B run; what is not uploaded within a minute stays on disk for `wandb sync`."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=int(failed))
        except TimeoutError as error:
            _warn(f"did not take all of {run.name}; `wandb sync {Path(run.dir).parent}` sends it", error)
        except Exception as error:
            _warn(f"cannot end {run.name}", error)
            # A service that died would fail the next run of this process too.
            with contextlib.suppress(Exception, SystemExit):
                wandb.teardown()


class _Curves(WandbLogger):
    """Lightning's logger, less its habit of ending the training when W&B fails."""

    _lost = False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log a row; after the first failure nothing more is tried."""
        if self._lost:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            self._lost = True
            _warn("takes no more curves of this run", error)


def _mode() -> Any:  # the Literal that wandb.init asks for; it checks the value itself
    """WANDB_MODE if set, else what `wandb offline` and its like left behind; online only where that works."""
    chosen = wandb.setup(wandb.Settings(silent=True)).settings.mode
    mode = os.environ.get("WANDB_MODE") or chosen
    return "offline" if mode == "online" and not _can_log_in() else mode


@functools.cache  # once a process: a sweep does not wait for the same dead server at every run
def _can_log_in() -> bool:
    """Whether there is a key (environment, netrc, settings) that the server takes; never asks the user."""
    try:
        logged_in = wandb.login(prompt=False, verify=True)
    except wandb.errors.AuthenticationError as error:
        _warn("is used offline from here on; `wandb sync` uploads the runs later", error)
        return False
    if not logged_in:
        _log.info("not logged in to W&B: runs are kept offline; `wandb sync` uploads them later")
    return logged_in


def _warn(event: str, error: Exception) -> None:
    """On one line: wandb's errors go on with advice that does not fit here."""
    reason, *_ = f"{type(error).__name__}: {error}".splitlines()
    _log.warning("W&B %s (%s)", event, reason)


def grid(images: np.ndarray) -> np.ndarray:
    """uint8 (N, C, H, W) -> one picture (H', W', C) of 8 columns, with a white line around each image."""
    padding = ((0, -len(images) % COLUMNS), (0, 0), (1, 1), (1, 1))
    cells = np.pad(images, padding, constant_values=255)
    n, c, h, w = cells.shape
    rows = cells.reshape(n // COLUMNS, COLUMNS, c, h, w).transpose(0, 3, 1, 4, 2)
    return rows.reshape(n // COLUMNS * h, COLUMNS * w, c)
