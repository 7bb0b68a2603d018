"""Training of a model with Lightning's trainer."""

import math
import signal
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.model_helpers import is_overridden

from latentbench.configuration.identity import LATER
from latentbench.configuration.value_checks import floats
from latentbench.data.base import ImageData
from latentbench.errors import Diverged, UserError
from latentbench.evaluation.build import build, build_data, build_seeded_model
from latentbench.evaluation.part_checks import check_kind
from latentbench.models.base import GenerativeModel
from latentbench.models.recipe import Recipe
from latentbench.optimizers.base import Optimizer
from latentbench.records.provenance import code_digest
from latentbench.running.checkpoints import PeriodicCheckpoint, find_checkpoint
from latentbench.running.data_parallel import STRATEGY, SplitBatch
from latentbench.running.job import Job, resolve
from latentbench.running.progress import EpochBar
from latentbench.running.replay import ReplayedSteps
from latentbench.schedules.base import Schedule

RECIPE_KEYS = ("gradient_clip", "ema", "accumulate", "patience", "keep")  # of `trainer`, and not Lightning's


def fit(
    config: DictConfig,
    model: GenerativeModel,
    data: ImageData,
    run_dir: Path,
    *,
    logger: Logger | None = None,
    checkpoint: Path | None = None,
    devices: Sequence[int] | None = None,
) -> pl.Trainer:
    """Train for up to `trainer.max_epochs` epochs in total, starting from the checkpoint if one is given.

    In the end the model has the weights that are to be measured.
    devices: numbers of the devices to use; None leaves the choice to Lightning
    Raises: UserError if the trainer's settings cannot be used, or it took no step; Diverged if a loss is not finite.
    """
    model.recipe = build_recipe(config)
    trainer = build_trainer(config, run_dir, logger=logger, devices=devices)
    check_recipe(model, trainer)
    if trainer.precision == "64-true":
        model.double()  # Lightning does it only after loading a checkpoint, whose weights would be rounded
    # Deterministic kernels would come with a further one for every tensor, which fills memory that nothing reads.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    on_interrupt = signal.getsignal(signal.SIGINT)
    # Numbers below 1e-38, such as Adam's moments for pixels that are always black, change no weight, and take a
    # processor many times as long as others. Torch changes this for the main thread alone.
    torch.set_flush_denormal(True)
    try:
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # how Lightning ends after Ctrl-C, which it has this process ignore from then on
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    finally:
        torch.set_flush_denormal(False)
    if not any(model.budget()["steps"].values()):
        raise UserError(
            f"the training took no step, since it had fewer batches than trainer.accumulate={model.recipe.accumulate}: "
            "take fewer, or more epochs"
        )
    model.take_measured_weights()
    return trainer


def check_finite(model: GenerativeModel) -> None:
    """Raises: Diverged if weights or facts are not finite, as after a last step whose loss nobody computed."""
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise Diverged(f"weights ({name}) are not finite after the training: take a smaller learning rate")
    for name, fact in floats(model.facts()):
        if not math.isfinite(fact):
            raise Diverged(f"{name} is {fact} after the training: take a smaller learning rate")


def build_recipe(config: DictConfig) -> Recipe:
    """How weights are trained. Raises: UserError for a setting that cannot be used."""
    parts = {"optimizer": build(config.optimizer), "schedule": build(config.schedule)}
    check_kind(parts["optimizer"], Optimizer)
    check_kind(parts["schedule"], Schedule)
    # A trainer of somebody else may not know these keys.
    return Recipe(**parts, **{key: config.trainer.get(key, LATER[f"trainer.{key}"]) for key in RECIPE_KEYS})


def check_recipe(model: GenerativeModel, trainer: pl.Trainer) -> None:
    """Raises: UserError if the recipe asks for what the model or the trainer does not have."""
    recipe = model.recipe
    validates = is_overridden("validation_step", model) and trainer.limit_val_batches
    if (setting := recipe.reads_validation) and not validates:
        raise UserError(f"{setting} follows the validation loss, and {type(model).__name__} has none: leave it out")
    if trainer.precision == "16-mixed" and (recipe.accumulate > 1 or recipe.gradient_clip is not None):
        raise UserError(
            "trainer.precision=16-mixed scales gradients, which trainer.gradient_clip and trainer.accumulate do not "
            "know: take bf16-mixed"
        )


def build_trainer(
    config: DictConfig, run_dir: Path, *, logger: Logger | None, devices: Sequence[int] | None
) -> pl.Trainer:
    """Lightning's trainer with our callbacks.

    Raises: UserError for weights in half precision, several machines, or several devices without trainer=ddp.
    """
    if config.trainer.precision in ("bf16-true", "16-true"):
        raise UserError(f"trainer.precision={config.trainer.precision} rounds the weights, too: take bf16-mixed")
    uses_ddp = config.trainer.get("strategy") == STRATEGY
    checkpoints = PeriodicCheckpoint(run_dir, seconds=config.checkpoint_seconds, code=code_digest())
    trainer: pl.Trainer = build(
        OmegaConf.masked_copy(config.trainer, [key for key in config.trainer if key not in RECIPE_KEYS]),
        logger=logger or False,
        callbacks=[EpochBar(), SplitBatch(), ReplayedSteps(config.replay), checkpoints],
        default_root_dir=str(run_dir),
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # losses are logged once an epoch; a larger value only causes warnings
        **({} if devices is None else {"devices": list(devices)}),
        # Otherwise Lightning would look for processes that a cluster's scheduler started.
        **({"plugins": LightningEnvironment()} if uses_ddp else {}),
    )
    if isinstance(trainer.limit_train_batches, float) and trainer.limit_train_batches < 1:
        raise UserError(f"trainer.limit_train_batches={trainer.limit_train_batches}: give a number of batches")
    if trainer.num_nodes > 1:  # Lightning would wait for the other machines forever
        raise UserError(f"trainer.num_nodes={trainer.num_nodes}: a run uses devices of one machine; leave it at 1")
    if trainer.world_size > 1 and not uses_ddp:
        raise UserError(f"trainer.devices={config.trainer.devices}: take trainer=ddp for a run on several devices")
    return trainer


def join_training(job: Job, *, devices: Sequence[int] | None) -> None:
    """Train in a further process of a run on several devices; the main process evaluates and saves."""
    run = resolve(job)
    data = build_data(run.config)
    model = build_seeded_model(run.config, data)
    fit(run.config, model, data, run.folder, checkpoint=find_checkpoint(run.folder), devices=devices)
