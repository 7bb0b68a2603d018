"""One run, from its composed config to its outcome: resolve, lock, train, evaluate, save, log."""

import errno
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from latentbench.configuration.messages import explain
from latentbench.data.base import ImageData
from latentbench.errors import Diverged, Refused, UserError
from latentbench.evaluation.evaluate import Evaluation, evaluate
from latentbench.loggers.base import RunLogger
from latentbench.models.base import GenerativeModel
from latentbench.records.provenance import code_digest
from latentbench.records.record import FILE_NAME, describe, status_of
from latentbench.running.build import build, build_data, build_evaluation_parts, build_seeded_model
from latentbench.running.checkpoints import remove_checkpoint, resumable_checkpoint
from latentbench.running.data_parallel import STRATEGY
from latentbench.running.job import LOCK, Job, Outcome, ResolvedRun, log_finished_before, resolve, resolve_or_none
from latentbench.running.locks import try_lock
from latentbench.running.logging_setup import ignore_known_warnings
from latentbench.running.recording import RecordDraft, save_images, save_weights
from latentbench.running.subprocess_run import run_in_subprocess
from latentbench.running.train import fit

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 1.0  # seconds; latentbench-status holds the lock of a run for a moment to see if it is free


def run_job(job: Job, *, devices: Sequence[int] | None = None) -> Outcome:
    """Run a job, on several devices in a subprocess. Errors are logged, not raised.

    devices: numbers of the devices to use; None leaves the choice to Lightning
    """
    if not needs_subprocess(job):
        return run_in_this_process(job, devices=devices)
    try:
        return run_in_subprocess(job, devices=devices)
    except OSError as error:
        log.error("failed: %s: its process cannot be started (%s)", job.command, error)
        return "failed"


def needs_subprocess(job: Job) -> bool:
    """Whether the job trains on several devices; False if it is finished or invalid and so trains nothing."""
    if job.config.trainer.get("strategy") != STRATEGY:
        return False
    run = resolve_or_none(job)
    return run is not None and not run.is_done


def run_in_this_process(job: Job, *, devices: Sequence[int] | None) -> Outcome:
    """Run a job; log an error as one line if the user can fix it, otherwise with its traceback."""
    ignore_known_warnings()
    try:
        return run(job.config, job.options, devices=devices)
    except Refused as error:
        log.error("refused: %s", error)
        return "invalid" if job.is_alone else "refused"
    except (UserError, OmegaConfBaseException) as error:
        log.error("latentbench: %s", explain(error))
        return "invalid"
    except Diverged as error:
        log.error("failed: %s", error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            folder = job.config.output_dir
            log.error("failed: %s: %s; make room, then the same command resumes the run", folder, error.strerror)
        else:
            log.exception("failed: %s", job.command)
    return "failed"


def run(config: DictConfig, options: Mapping[str, Any], *, devices: Sequence[int] | None = None) -> Outcome:
    """Train and evaluate one model and write its record, unless it is finished or locked by another process.

    options: as in Job
    Raises: any error of the run, after writing a record with its reason; UserError if a value is invalid.
    """
    resolved = resolve(config, options)
    make_writable(resolved.folder)
    with try_lock(resolved.folder / LOCK, timeout=LOCK_TIMEOUT) as acquired:
        if not acquired:
            log.info("%s is locked by another process", resolved.folder)
            return "locked by another process"
        if resolved.is_done:
            log_finished_before(resolved)
            return "finished before"
        remove_outdated_files(resolved.folder)
        train_and_evaluate(resolved, devices=devices)
    return "finished"


def remove_outdated_files(run_dir: Path) -> None:
    """Before a run starts, delete the record of its last failure.

    If it is a finished run repeated with `force`, its record stays until a new one replaces it, and a checkpoint that
    it left is deleted."""
    if status_of(run_dir) == "finished":
        remove_checkpoint(run_dir)
    else:
        (run_dir / FILE_NAME).unlink(missing_ok=True)  # it holds the reason of the last failure


def train_and_evaluate(run: ResolvedRun, *, devices: Sequence[int] | None) -> None:
    """Train, evaluate, save and log; an interrupted run resumes from its checkpoint. Raises: as `run`."""
    draft = RecordDraft(run)
    logger: RunLogger = build(run.config.logger)
    has_finished = False
    try:
        checkpoint = checkpoint_to_resume(run.folder)
        # Started before any part can be refused, so that the logger shows refused runs as well.
        curves = logger.start(draft.info(resumed=checkpoint is not None))

        data = build_data(run.config)
        evaluation_parts = build_evaluation_parts(run.config, data)  # before training, so that errors show at once
        # After the evaluation parts, so that no choice of features or metrics changes the model's random numbers.
        model = build_seeded_model(run.config, data)
        draft.n_parameters = sum(parameter.numel() for parameter in model.parameters())
        draft.clock.lap("setup")

        trainer = fit(run.config, model, data, run.folder, logger=curves, checkpoint=checkpoint, devices=devices)
        draft.clock.lap("fit")

        evaluation = evaluate_model(run.config, model, data, evaluation_parts, device=trainer.strategy.root_device)
        draft.clock.lap("evaluate")

        record = draft.finished(evaluation)
        save_weights(run.folder, model)  # before the record: a finished record implies that they exist
        save_images(run.folder, evaluation.images)
        record.save(run.folder)
        logger.finish(record, evaluation.images)
        remove_checkpoint(run.folder)
        has_finished = True
    except Exception as error:
        record = draft.failed(error)
        record.save(run.folder)
        logger.finish(record, {})
        raise
    finally:
        logger.close(failed=not has_finished)
    log.info("\n".join([str(run.folder / FILE_NAME), *describe(record)]))


def checkpoint_to_resume(run_dir: Path) -> Path | None:
    """The checkpoint of an interrupted run.

    An unusable one is removed, so that all processes of a run start from the same state.
    """
    checkpoint = resumable_checkpoint(run_dir, code=code_digest())
    if checkpoint is None:
        remove_checkpoint(run_dir)
    return checkpoint


def evaluate_model(
    config: DictConfig, model: GenerativeModel, data: ImageData, parts: Mapping[str, Any], *, device: torch.device
) -> Evaluation:
    """Measure every metric of a trained model.

    parts: samplers, metrics and features, from `build_evaluation_parts`"""
    if config.trainer.precision == "64-true":
        model.float()  # the images are in single precision
    # Apple's GPUs have no float64, which sums of moments and likelihoods need.
    device = torch.device("cpu") if device.type == "mps" else device
    return evaluate(model=model, data=data, seed=config.seed, device=device, **parts)


def make_writable(run_dir: Path) -> None:
    """Create the run folder. Raises: UserError if nothing can be written in it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {run_dir} cannot be written ({error.strerror}): choose another") from error
    if not os.access(run_dir, os.W_OK):
        raise UserError(f"output_dir: {run_dir} cannot be written (no permission): choose another")
