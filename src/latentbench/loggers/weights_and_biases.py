"""Weights & Biases: curves while a run trains, its final numbers and pictures when it ends."""

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

from latentbench.configuration.catalogue import TRAINED_WITH, preset
from latentbench.loggers.base import RunLogger
from latentbench.records.record import Record
from latentbench.reporting.image_grids import Picture, pictures

_log = logging.getLogger(__name__)

LINES = 8  # of images in a picture
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
        self._place: Place

    def start(
        self,
        *,
        run_dir: Path,
        study: str,
        run_id: str,
        choices: dict[str, Any],
        config: dict[str, Any],
        resumed: bool = False,
    ) -> WandbLogger | None:
        """Open the run, or the W&B run that was cut off; None if W&B is disabled or cannot even write to the disk."""
        try:
            mode = _mode()
        except Exception as error:
            _warn("cannot be started", error)
            return None
        if mode == "disabled":
            return None
        self._place = Place(run_dir, resumed=resumed)
        for attempt in dict.fromkeys((mode, "offline")):
            try:
                self._run = wandb.init(
                    mode=attempt,
                    id=self._place.id,
                    resume="allow" if self._place.epochs else None,
                    project=self.project,
                    entity=self.entity,
                    group=study,
                    job_type=choices["method"],
                    name=f"{variant(choices)} s{choices['seed']}",
                    dir=run_dir,
                    tags=[f"{group}={choices[group]}" for group in TRAINED_WITH if choices.get(group)],
                    config=config | {"choices": choices, "run_id": run_id, "variant": variant(choices)},
                    # A run that was left open would be continued instead.
                    reinit="finish_previous",
                    settings=wandb.Settings(**QUIET, **PATIENCE),
                )
                # Lightning's step counts every optimizer's, so two methods would not share an axis.
                self._run.define_metric("trainer/global_step", hidden=True)
                self._run.define_metric("epoch", hidden=True)
                for stage in ("train", "validation"):
                    self._run.define_metric(f"{stage}/*", step_metric="epoch")
                return _Curves(self._place, experiment=self._run, project=self.project, save_dir=run_dir)
            except Exception as error:
                self.close(failed=True)
                _end_service()
                _warn(f"cannot open an {attempt} run of {run_id}", error)
        return None

    def finish(self, record: Record, images: dict[str, np.ndarray]) -> None:
        """Final metrics with their direction, status, skipped reasons and warnings in the summary; pictures."""
        if self._run is None:
            return
        self._place.leave()
        try:
            resolved = record.config.get("resolved", {})
            self._run.config["resolved"] = resolved
            for key in record.metrics:
                about = resolved.get("metrics", {}).get(key.split("/")[0], {})
                self._run.define_metric(key, summary=SUMMARY_OF[about.get("higher_is_better")])
            skipped = {f"skipped/{key}": reason for key, reason in record.skipped.items()}
            ending = {"status": record.status} | ({"reason": record.reason} if record.reason else {})
            warned = {f"caveats/{key}": text for key, text in record.caveats.items()}
            errors = {f"standard_errors/{key}": error for key, error in record.standard_errors.items()}
            whole = {"record": record.to_line()}  # of which tables are made; the others are for W&B's own views
            self._run.summary.update(record.metrics | errors | skipped | warned | ending | whole)
            shown = pictures(images, lines=LINES)
            if shown:
                self._run.log({f"images/{of}": image(picture) for of, picture in shown.items()})
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
            _warn(
                f"did not take all of {run.name}; `wandb sync --include-online {Path(run.dir).parent}` sends it", error
            )
        except Exception as error:
            _warn(f"cannot end {run.name}", error)
            _end_service()


class Place:
    """Where a run is in W&B, kept in its folder until it ends: the id of its W&B run, and what of each curve is there.

    resumed: whether the training goes on from a checkpoint, and not from the start. What it repeats since then is the
    same again, and in W&B already.
    """

    def __init__(self, run_dir: Path, *, resumed: bool) -> None:
        self.path = run_dir / "wandb" / "latentbench.json"
        self.id = secrets.token_hex(4)
        self.epochs: dict[str, int] = {}  # of each stage, the last that was logged
        if resumed:
            with contextlib.suppress(OSError, ValueError, KeyError):  # cut short: a new W&B run
                kept = json.loads(self.path.read_text())
                self.id, self.epochs = kept["id"], kept["epochs"]

    def has(self, stage: str, epoch: int) -> bool:
        """Whether this is logged."""
        return epoch <= self.epochs.get(stage, -1)

    def keep(self, stage: str, epoch: int) -> None:
        """This is logged now."""
        self.epochs[stage] = epoch
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps({"id": self.id, "epochs": self.epochs}))

    def leave(self) -> None:
        """The run has ended: another one of its name is another one in W&B."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class _Curves(WandbLogger):
    """Lightning's logger, less its habit of ending the training when W&B fails, and without epochs that it has."""

    def __init__(self, place: Place, **given: Any) -> None:
        super().__init__(**given)
        self._place = place
        self._lost = False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log a row; after the first failure nothing more is tried."""
        if self._lost:
            return
        try:
            row = next(iter(metrics)).partition("/")[0], int(metrics["epoch"])
            if not self._place.has(*row):
                super().log_metrics(metrics, step)
                self._place.keep(*row)
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


def _end_service() -> None:
    """W&B's own process, if it died or still waits to open a run, would fail the next run of this one too."""
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()


def _warn(event: str, error: Exception) -> None:
    """On one line: wandb's errors go on with advice that does not fit here."""
    reason, *_ = f"{type(error).__name__}: {error}".splitlines()
    _log.warning("W&B %s (%s)", event, reason)


def variant(choices: dict[str, Any]) -> str:
    """What all seeds of a run are called: the method, its parts that are not the usual ones, data, beta and size."""
    usual = preset(choices["method"])
    others = {part: choices[part] for part in TRAINED_WITH if choices.get(part) and usual.get(part)}
    named = [f"{part}={option}" for part, option in others.items() if option != usual[part]]
    weight = [] if choices["beta"] is None else [f"\N{GREEK SMALL LETTER BETA}={choices['beta']:g}"]
    return " ".join([choices["method"], *named, choices["data"], *weight, f"d={choices['latent_size']}"])


def image(picture: Picture) -> wandb.Image:
    """A picture for W&B."""
    return wandb.Image(Image.fromarray(picture.pixels), caption=picture.caption)
