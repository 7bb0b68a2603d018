"""Weights & Biases: loss curves while a run trains, its final metrics and images when it ends.

What is logged, and under which keys: `latentbench.records.wandb_keys`.
"""

import contextlib
import functools
import json
import logging
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from latentbench.configuration.identity import method_name
from latentbench.loggers.base import RunInfo, RunLogger
from latentbench.records import wandb_keys
from latentbench.records.record import Record, write_atomically
from latentbench.reporting.image_grids import Picture, pictures

log = logging.getLogger(__name__)

GRID_ROWS = 8
# higher_is_better -> which of its logged values W&B shows for a metric.
SUMMARY_BY_DIRECTION = {True: "max", False: "min", None: "last"}
# No banners and no capture of stdout, which would clutter a sweep; the record has commit, packages and hardware.
QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "x_disable_stats": True,
    "x_save_requirements": False,  # a list of all packages, which takes a seventh of a second to make
}
# In seconds; by default wandb waits for a lost network forever at the end of a run.
TIMEOUTS: dict[str, Any] = {"init_timeout": 15, "finish_timeout": 60, "finish_timeout_raises": True}


class WeightsAndBiases(RunLogger):
    """One W&B run per run, grouped by study; offline, under `<run folder>/wandb`, where W&B cannot be reached.

    No error of W&B ends a run: it is logged as a warning, and the record is written without W&B.
    """

    def __init__(self, *, project: str, entity: str | None) -> None:
        self.project = project
        self.entity = entity
        self._run: wandb.Run | None = None
        self._resume_state: ResumeState

    def start(self, run: RunInfo) -> WandbLogger | None:
        """Open a W&B run, or reopen that of an interrupted run.

        None if W&B is disabled or cannot even write to the disk.
        """
        try:
            mode = _mode()
        except Exception as error:
            _warn("cannot be started", error)
            return None
        if mode == "disabled":
            return None
        self._resume_state = ResumeState(run.folder, resumed=run.resumed)
        for mode_to_try in dict.fromkeys((mode, "offline")):
            try:
                experiment = self._open(run, mode_to_try)
                return _Curves(self._resume_state, experiment=experiment, project=self.project, save_dir=run.folder)
            except Exception as error:
                self.close(failed=True)
                _end_service()
                _warn(f"cannot open an {mode_to_try} run of {run.run_id}", error)
        return None

    def _open(self, run: RunInfo, mode: Any) -> "wandb.Run":
        variant = wandb_keys.variant(run.choices, run.config, run.preset)
        self._run = wandb.init(
            mode=mode,
            id=self._resume_state.wandb_id,
            resume="allow",
            project=self.project,
            entity=self.entity,
            group=run.study,
            job_type=method_name(run.choices),
            name=wandb_keys.run_name(variant, run.choices["seed"]),
            dir=run.folder,
            tags=wandb_keys.tags(run.choices),
            config=wandb_keys.start_config(run.run_id, run.choices, run.preset, run.config, variant),
            # Otherwise wandb would continue a run that was left open in this process.
            reinit="finish_previous",
            allow_val_change=True,  # a run that is measured again has more settings of measuring
            settings=wandb.Settings(**QUIET, **TIMEOUTS),
        )
        # Lightning's step counts the steps of every optimizer, so that two methods would not share an axis.
        self._run.define_metric("trainer/global_step", hidden=True)
        self._run.define_metric(wandb_keys.EPOCH, hidden=True)
        for stage in wandb_keys.STAGES:
            self._run.define_metric(wandb_keys.curve_key(stage, "*"), step_metric=wandb_keys.EPOCH)
        return self._run

    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        """Write the summary, with the direction of each metric, and the image grids."""
        if self._run is None:
            return
        try:
            resolved = record.config.get(wandb_keys.RESOLVED, {})
            variant = wandb_keys.variant(record.choices, record.config, record.preset)
            config = record.config | {wandb_keys.CHOICES: record.choices, wandb_keys.VARIANT: variant}
            self._run.config.update(config, allow_val_change=True)  # type: ignore[no-untyped-call]
            for key in record.metrics:
                facts = resolved.get("metrics", {}).get(key.split("/")[0], {})
                self._run.define_metric(key, summary=SUMMARY_BY_DIRECTION[facts.get("higher_is_better")])
            self._run.summary.update(wandb_keys.summary(record))
            grids = pictures(images, lines=GRID_ROWS)
            if grids:
                self._run.log({wandb_keys.image_key(name): _wandb_image(grid) for name, grid in grids.items()})
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
            folder = Path(run.dir).parent
            _warn(f"did not receive all of {run.name}; `wandb sync --include-online {folder}` uploads the rest", error)
        except Exception as error:
            _warn(f"cannot end {run.name}", error)
            _end_service()


class ResumeState:
    """The id of a run's W&B run and the last epoch logged of each stage, in a file in the run folder.

    A run that resumes from a checkpoint, or is measured again, continues the same W&B run. Epochs that it repeats since
    the checkpoint have the same losses again and are not logged twice.
    """

    def __init__(self, run_dir: Path, *, resumed: bool) -> None:
        self.path = run_dir / "wandb" / "latentbench.json"
        self.wandb_id = secrets.token_hex(4)
        self.last_epoch: dict[str, int] = {}  # by stage
        if resumed:
            with contextlib.suppress(OSError, ValueError, KeyError):  # missing or incomplete: a new W&B run
                content = json.loads(self.path.read_text())
                self.wandb_id, self.last_epoch = content["id"], content["epochs"]

        with contextlib.suppress(OSError):  # then the next part of the run is another W&B run
            self._save()

    def is_logged(self, stage: str, epoch: int) -> bool:
        return epoch <= self.last_epoch.get(stage, -1)

    def set_logged(self, stage: str, epoch: int) -> None:
        self.last_epoch[stage] = epoch
        self._save()

    def _save(self) -> None:
        content = json.dumps({"id": self.wandb_id, "epochs": self.last_epoch}).encode()
        write_atomically(self.path, content, on_disk=False)  # after every epoch, which may take a hundredth of a second


class _Curves(WandbLogger):
    """Lightning's logger, except that an error of W&B does not end the training and no epoch is logged twice."""

    def __init__(self, resume_state: ResumeState, **settings: Any) -> None:
        super().__init__(**settings)
        self._resume_state = resume_state
        self._has_failed = False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log the losses of a stage after an epoch; after the first error nothing more is logged."""
        if self._has_failed:
            return
        try:
            stage, epoch = next(iter(metrics)).partition("/")[0], int(metrics[wandb_keys.EPOCH])
            if not self._resume_state.is_logged(stage, epoch):
                super().log_metrics(metrics, step)
                self._resume_state.set_logged(stage, epoch)
        except Exception as error:
            self._has_failed = True
            _warn("accepts no more curves of this run", error)


def _mode() -> Any:  # wandb.init wants a Literal and checks the value itself
    """WANDB_MODE if set, otherwise the mode set by `wandb offline` and the like; online only where that works."""
    setting = wandb.setup(wandb.Settings(silent=True)).settings.mode
    mode = os.environ.get("WANDB_MODE") or setting
    return "offline" if mode == "online" and not _can_log_in() else mode


@functools.cache  # once per process: a sweep does not wait for the same dead server before every run
def _can_log_in() -> bool:
    """Whether the server accepts a key from environment, netrc or settings; never prompts the user."""
    try:
        logged_in = wandb.login(prompt=False, verify=True)
    except wandb.errors.AuthenticationError as error:
        _warn("is used offline from here on; `wandb sync` uploads the runs later", error)
        return False
    if not logged_in:
        log.info("not logged in to W&B: runs are logged offline; `wandb sync` uploads them later")
    return logged_in


def _end_service() -> None:
    """End W&B's own process: if it has died or still waits to open a run, the next run here would fail too."""
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()


def _warn(event: str, error: Exception) -> None:
    """Log a warning of one line: the other lines of wandb's errors give advice that does not apply here."""
    reason, *_ = f"{type(error).__name__}: {error}".splitlines()
    log.warning("W&B %s (%s)", event, reason)


def _wandb_image(grid: Picture) -> wandb.Image:
    return wandb.Image(Image.fromarray(grid.pixels), caption=grid.caption)
