"""One run, from its composed config to its outcome: resolve, lock, train, save, measure, save, log."""

import dataclasses
import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from latentbench.configuration.catalogue import MEASURING_GROUPS
from latentbench.configuration.messages import explain
from latentbench.data.base import ImageData
from latentbench.errors import Diverged, Refused, UserError
from latentbench.evaluation.build import build, build_data, build_measuring_parts, build_seeded_model
from latentbench.evaluation.stored_run import StoredRun, measuring_device
from latentbench.loggers.base import RunLogger
from latentbench.records.measuring import add, cells_to_measure, changed_settings, describe_cells, recorded_settings
from latentbench.records.provenance import Clock, code_digest, git_commit
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, describe, load_or_none, parse, write_atomically
from latentbench.records.run_folder import IMAGES_NAME, load_images, save_images
from latentbench.running.checkpoints import remove_checkpoint, resumable_checkpoint, seconds_before, training_device
from latentbench.running.data_parallel import STRATEGY
from latentbench.running.job import LOCK, Job, Outcome, ResolvedRun, log_finished_before, resolve, resolve_or_none
from latentbench.running.locks import try_lock
from latentbench.running.logging_setup import ignore_known_warnings
from latentbench.running.longer_training import checkpoint_of_shorter_run
from latentbench.running.recording import failed_record, provenance, reason_of, run_info, save_trained_run
from latentbench.running.subprocess_run import run_in_subprocess
from latentbench.running.train import check_finite, fit

log = logging.getLogger(__name__)

# Now, as files may change before a run ends. Processes that are forked from this one inherit both.
code_digest(), git_commit()

OLD_NAME = "record.old.json"  # a record that another one replaces, although nobody asked for that
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
    """Whether the job trains on several devices; False if it is trained or invalid and so trains nothing."""
    if job.config.trainer.get("strategy") != STRATEGY:
        return False
    run = resolve_or_none(job)
    return run is not None and not run.is_trained and not run.is_only_measured


def run_in_this_process(job: Job, *, devices: Sequence[int] | None) -> Outcome:
    """Run a job; log an error as one line if the user can fix it, otherwise with its traceback."""
    ignore_known_warnings()
    try:
        return run(job, devices=devices)
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


def run(job: Job, *, devices: Sequence[int] | None = None) -> Outcome:
    """Train the model of a run, then measure it; of both only what is not done yet.

    Raises: any error of the run, after recording its reason; UserError if a value is invalid.
    """
    resolved = resolve(job)
    make_writable(resolved.folder)
    with try_lock(resolved.folder / LOCK, timeout=LOCK_TIMEOUT) as acquired:
        if not acquired:
            log.info("%s is locked by another process", resolved.folder)
            return "locked by another process"
        if not resolved.is_only_measured:
            set_unreadable_record_aside(resolved.folder)
        if resolved.is_done:
            log_finished_before(resolved)
            return "finished before"
        logger: RunLogger = build(resolved.config.logger)
        has_finished = False
        try:
            if resolved.is_trained or resolved.is_only_measured:
                data = None
                logger.start(run_info(resolved, resumed=True))
            else:
                data = train(resolved, logger, devices=devices)
            has_finished = measure(resolved, logger, data=data, devices=devices)
        finally:
            logger.close(failed=not has_finished)
    return "finished" if has_finished else "finished, but a metric failed"


def train(run: ResolvedRun, logger: RunLogger, *, devices: Sequence[int] | None) -> ImageData:
    """Train the model and save it; an interrupted training resumes from its checkpoint. Returns the data.

    Raises: any error of the training, after recording its reason.
    """
    clock = Clock()
    try:
        keep_record_without_weights(run)
        remove_outdated_files(run.folder)
        checkpoint = checkpoint_to_resume(run)
        # Started before any part can be refused, so that the logger shows refused runs as well.
        curves = logger.start(run_info(run, resumed=checkpoint is not None))
        if run.refusal:
            raise Refused(run.refusal)

        data = build_data(run.config)
        build_measuring_parts(run.config, data)  # before training, so that errors show at once
        # After the measuring parts, so that no choice of features or metrics changes the model's random numbers.
        model = build_seeded_model(run.config, data)
        checkpoint = checkpoint or checkpoint_of_shorter_run(run, model)
        clock.lap("setup")

        trainer = fit(run.config, model, data, run.folder, logger=curves, checkpoint=checkpoint, devices=devices)
        check_finite(model)
        clock.lap("fit", before=seconds_before(trainer))

        save_trained_run(run, model, data, trainer, clock.seconds)
        if not run.config.keep_state:
            remove_checkpoint(run.folder)
    except Exception as error:
        record = failed_record(run, error, clock.seconds)
        record.save(run.folder)
        logger.finish(record, {})
        raise
    return data


def measure(run: ResolvedRun, logger: RunLogger, *, data: ImageData | None, devices: Sequence[int] | None) -> bool:
    """Measure what the record of a trained run lacks, and add it. Returns whether no metric failed.

    data: the data of the run, if it is loaded already
    Raises: any error outside of a metric; a record without numbers then has its reason.
    """
    clock = Clock()
    stored = StoredRun.open(run.folder, data=data)
    cells = cells_to_measure(stored.record, run.requested, force=run.config.force)
    device = measuring_device(run.config, devices)
    if data is None:
        log.info("%s is trained already; measuring %s", run.folder, describe_cells(cells))
    for change in changed_settings(stored.record, run.requested):
        log.info("%s: what this affects is measured again", change)
    try:
        evaluation = stored.measure(cells, run.requested, device=device)
    except Exception as error:
        if stored.record.status == "trained":
            dataclasses.replace(stored.record, reason=reason_of(error)).save(run.folder)
        raise
    clock.lap("evaluate")
    record = add(
        stored.record,
        run.requested,
        evaluation,
        provenance=provenance(device, clock.seconds["evaluate"]),
    )
    images = load_images(run.folder / IMAGES_NAME) if stored.record.evaluations else {}
    for sampler in {sampler for each in evaluation.cells.values() for sampler in each.samplers}:
        images.pop(sampler, None)  # it may have no images any more
    images |= evaluation.images
    save_images(run.folder, images)
    record.save(run.folder)
    logger.finish(record, images)
    log.info("\n".join([str(run.folder / FILE_NAME), *describe(record)]))
    return not evaluation.failed


def set_unreadable_record_aside(run_dir: Path) -> None:
    """Before the run is trained again, rename a record that is damaged, or of another version's schema.

    Raises: UserError if the file cannot be opened: it may be whole.
    """
    path = run_dir / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    try:
        parse(content, str(path))
    except UserError as error:
        os.replace(path, run_dir / OLD_NAME)
        log.warning("%s; the run goes on from its checkpoint, if it has one; the file is kept as %s", error, OLD_NAME)


def keep_record_without_weights(run: ResolvedRun) -> None:
    """Before a run is trained again because its weights are gone, copy its record, and say what is not measured again.

    So are restored records, which have no weights.
    """
    record = load_or_none(run.folder)
    if run.config.force or record is None or not record.is_trained:
        return
    write_atomically(run.folder / OLD_NAME, (run.folder / FILE_NAME).read_bytes())
    recorded, requested = recorded_settings(record), run.requested
    left_out = [f"{group}={name}" for group in MEASURING_GROUPS for name in recorded[group].keys() - requested[group]]
    log.warning(
        "%s has a record and no %s: it is trained again, and the record is kept as %s%s",
        run.folder,
        WEIGHTS_NAME,
        OLD_NAME,
        f"; not asked for, and not measured again: {', '.join(sorted(left_out))}" if left_out else "",
    )


def remove_outdated_files(run_dir: Path) -> None:
    """Before a run starts, delete the record of its last failure.

    That of a trained run stays until a new model replaces it. If the run is repeated with `force`, a checkpoint that it
    left is deleted."""
    record = load_or_none(run_dir)
    if record is None or not record.is_trained:
        (run_dir / FILE_NAME).unlink(missing_ok=True)  # it holds the reason of the last failure
    elif (run_dir / WEIGHTS_NAME).is_file():  # that of a restored record has none
        remove_checkpoint(run_dir)


def checkpoint_to_resume(run: ResolvedRun) -> Path | None:
    """The checkpoint of an interrupted run.

    An unusable one is removed, so that all processes of a run start from the same state.
    """
    checkpoint = resumable_checkpoint(run.folder, code=code_digest(), device=training_device(run.config))
    if checkpoint is None:
        remove_checkpoint(run.folder)
    return checkpoint


def make_writable(run_dir: Path) -> None:
    """Create the run folder. Raises: UserError if nothing can be written in it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {run_dir} cannot be written ({error.strerror}): choose another") from error
    if not os.access(run_dir, os.W_OK):
        raise UserError(f"output_dir: {run_dir} cannot be written (no permission): choose another")
