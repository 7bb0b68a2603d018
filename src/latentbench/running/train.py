"""One run: seed, build, fit, evaluate, record."""

import errno
import io
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save

from latentbench.configuration.messages import explain
from latentbench.data.base import ImageData
from latentbench.errors import Diverged, Refused, UserError
from latentbench.evaluation.evaluate import Evaluation, evaluate
from latentbench.loggers.base import RunLogger
from latentbench.models.base import GenerativeModel
from latentbench.records.provenance import Clock, code_digest, environment
from latentbench.records.record import FILE_NAME, Record, Status, describe, status_of, write_whole
from latentbench.running.build import build, build_measures, load, seeded_model
from latentbench.running.checkpoints import Checkpoints, forget, kept, last
from latentbench.running.data_parallel import STRATEGY, Shares
from latentbench.running.job import LOCK, Job, settle
from latentbench.running.locks import held
from latentbench.running.progress import EpochBar
from latentbench.running.subprocess_run import in_own_process

log = logging.getLogger(__name__)


def attempt(job: Job, *, devices: Sequence[int] | None = None) -> str:
    """Run it, over several devices in a process of its own, and say what became of it."""
    if needs_own_process(job):
        try:
            return in_own_process((job, devices), words=" ".join(job.overrides))
        except OSError as error:
            log.error("failed: %s: no process for it (%s)", " ".join(job.overrides), error)
            return "failed"
    return attempt_here(job, devices=devices)


def needs_own_process(job: Job) -> bool:
    """Whether there is something to do over several devices."""
    if job.config.trainer.get("strategy") != STRATEGY:
        return False
    try:
        _, _, run_dir = settle(job.config, job.options)
    except (UserError, OmegaConfBaseException):  # to be said without a process more
        return False
    return bool(job.config.force) or status_of(run_dir) != "finished"


def attempt_here(job: Job, *, devices: Sequence[int] | None) -> str:
    """Run it and say what became of it, on one line if the user can mend it."""
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # of Lightning's own code
    warnings.filterwarnings("ignore", message=".*have no `validation_step`.*")  # a GAN has nothing to validate
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # every process has the means of whole batches
    try:
        return run(job.config, job.options, devices=devices)
    except Refused as error:
        log.error("refused: %s", error)
        return "wrong" if job.is_alone else "refused"
    except (UserError, OmegaConfBaseException) as error:
        log.error("latentbench: %s", explain(error))
        return "wrong"
    except Diverged as error:
        log.error("failed: %s", error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = job.config.output_dir
            log.error("failed: %s: %s; the same command goes on when there is room", where, error.strerror)
        else:
            log.exception("failed: %s", " ".join(job.overrides))
    return "failed"


def run(config: DictConfig, options: Mapping[str, Any], *, devices: Sequence[int] | None = None) -> str:
    """Train and evaluate one model and leave its record; a finished run is not run again unless `force`.

    options: as of a Job. devices: which of several of their kind to use; None leaves it to Lightning.
    A run that was cut off goes on from its last checkpoint; one that another process is at is left to that.

    Returns: what became of it. Raises, after the record of it is written: Refused, UserError or whatever failed.
    """
    config, chosen, run_dir = settle(config, options)
    make_writable(run_dir)
    with held(run_dir / LOCK, patience=1.0) as is_ours:  # latentbench-status has it for a moment
        if not is_ours:
            log.info("%s: another process is at it", run_dir)
            return "run elsewhere"
        if status_of(run_dir) == "finished":
            if not config.force:
                log.info("%s is finished already (force=true runs it again)", run_dir)
                return "finished before"
            forget(run_dir)
        else:
            (run_dir / FILE_NAME).unlink(missing_ok=True)  # the reason of the last time is none of this one
        return carry_out(config, chosen, run_dir, devices)


def carry_out(config: DictConfig, chosen: dict[str, Any], run_dir: Path, devices: Sequence[int] | None) -> str:
    """The run itself."""
    name = run_dir.name
    resolved: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    about: dict[str, Any] = {"run_id": name, "study": config.study, "choices": chosen, "config": resolved}
    clock = Clock()
    logger: RunLogger = build(config.logger)
    failed = True
    try:
        checkpoint = last(run_dir, code=code_digest())
        if checkpoint is None:
            forget(run_dir)  # all processes go on from what is there, or none does
        # Before anything can be refused, so that what is logged has the same runs as the records.
        lightning_logger = logger.start(
            run_dir=run_dir, study=config.study, run_id=name, choices=chosen, config=resolved, resumed=bool(checkpoint)
        )
        data = load(config)
        measures = build_measures(config, data)
        # After these, so that no choice of features or metrics moves the model's random numbers.
        model = seeded_model(config, data)
        about["n_parameters"] = sum(parameter.numel() for parameter in model.parameters())
        clock.lap("setup")
        trainer = fit(config, model, data, lightning_logger or False, run_dir, checkpoint=checkpoint, devices=devices)
        if config.trainer.precision == "64-true":
            model.float()  # as the images are that it is measured with
        clock.lap("fit")
        where = trainer.strategy.root_device
        # Apple's GPUs have no float64, which sums of moments and likelihoods need.
        where = torch.device("cpu") if where.type == "mps" else where
        evaluation = evaluate(model=model, data=data, seed=config.seed, device=where, **measures)
        clock.lap("evaluate")
        resolved["resolved"] = evaluation.facts
        about |= {key: getattr(evaluation, key) for key in ("metrics", "standard_errors", "skipped", "caveats")}
        record = Record(status="finished", seconds=clock.seconds, environment=_environment(), **about)
        keep(run_dir, model, evaluation)
        record.save(run_dir)
        logger.finish(record, evaluation.images)
        forget(run_dir)
        failed = False
    except Exception as error:
        status: Status = "refused" if isinstance(error, Refused) else "failed"
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        record = Record(status=status, reason=reason, seconds=clock.seconds, environment=_environment(), **about)
        record.save(run_dir)
        logger.finish(record, {})
        raise
    finally:
        logger.close(failed=failed)
    log.info("\n".join([str(run_dir / FILE_NAME), *describe(record)]))
    return "finished"


def _environment() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return environment(cpu_threads=torch.get_num_threads(), gpu=gpu)


def follow(job: Job, *, devices: Sequence[int] | None) -> None:
    """Take part in the training of a run that another process carries out."""
    config, _, run_dir = settle(job.config, job.options)
    data = load(config)
    fit(config, seeded_model(config, data), data, False, run_dir, checkpoint=kept(run_dir), devices=devices)


def fit(
    config: DictConfig,
    model: GenerativeModel,
    data: ImageData,
    logger: Any,
    run_dir: Path,
    *,
    checkpoint: Path | None = None,
    devices: Sequence[int] | None = None,
) -> pl.Trainer:
    """Train for `trainer.max_epochs` epochs, from the checkpoint of a run that was cut off if there is one.

    Raises: UserError for weights of half precision, several machines, several processes by another strategy than that
    of trainer=ddp, or what Lightning cannot do with a model that steps its optimizers itself.
    """
    if config.trainer.precision in ("bf16-true", "16-true"):
        raise UserError(f"trainer.precision={config.trainer.precision}: weights of half precision; take bf16-mixed")
    is_shared = config.trainer.get("strategy") == STRATEGY
    keeper = Checkpoints(run_dir, seconds=config.checkpoint_seconds, code=code_digest())
    trainer: pl.Trainer = build(
        config.trainer,
        logger=logger,
        callbacks=[EpochBar(), Shares(), keeper],
        default_root_dir=str(run_dir),
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # terms are logged once an epoch anyhow; more would only warn of short epochs
        **({} if devices is None else {"devices": list(devices)}),
        **({"plugins": LightningEnvironment()} if is_shared else {}),  # not by what a cluster's scheduler started
    )
    if trainer.num_nodes > 1:  # it would wait for the others for ever
        raise UserError(f"trainer.num_nodes={trainer.num_nodes}: a run takes devices of one machine; leave it at 1")
    if trainer.world_size > 1 and not is_shared:
        raise UserError(f"trainer.devices={config.trainer.devices}: take trainer=ddp for a run over several devices")
    try:
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # how Lightning ends after Ctrl-C
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return trainer


def keep(run_dir: Path, model: GenerativeModel, evaluation: Evaluation) -> None:
    """Weights and pictures, before the record that says that they are there."""
    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    write_whole(run_dir / "model.safetensors", save(weights))
    pictures = io.BytesIO()
    # The stubs take the keys for savez_compressed's own options.
    np.savez_compressed(pictures, **evaluation.images)  # type: ignore[arg-type]
    write_whole(run_dir / "images.npz", pictures.getvalue())


def make_writable(run_dir: Path) -> None:
    """Make the folder. Raises: UserError if nothing can be written there."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {run_dir} cannot be written ({error.strerror}): choose another") from error
    if not os.access(run_dir, os.W_OK):
        raise UserError(f"output_dir: {run_dir} cannot be written (no permission): choose another")
