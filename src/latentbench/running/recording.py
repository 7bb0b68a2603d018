"""The files of a trained run, and the content of its record."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from safetensors.torch import save
from torch import Tensor

from latentbench import __version__
from latentbench.configuration.catalogue import MEASURING_GROUPS, preset
from latentbench.data.base import ImageData
from latentbench.errors import Refused, UserError
from latentbench.loggers.base import RunInfo
from latentbench.models.base import GenerativeModel
from latentbench.models.recipe import convergence
from latentbench.records.provenance import environment, git_commit, processor
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, Record, Status, write_atomically
from latentbench.records.run_folder import LAST_WEIGHTS_NAME, save_config
from latentbench.running.checkpoints import PeriodicCheckpoint, training_device
from latentbench.running.job import ResolvedRun

MKL_PATH = "MKL_ENABLE_INSTRUCTIONS"  # the variable with which a user chooses MKL's code path


def run_info(run: ResolvedRun, *, resumed: bool) -> RunInfo:
    """What a logger needs when the run starts."""
    return RunInfo(
        run_id=run.folder.name,
        study=run.config.study,
        choices=run.choices,
        preset=preset(run.choices["method"]),
        config=_container(run),
        folder=run.folder,
        resumed=resumed,
    )


def save_trained_run(
    run: ResolvedRun, model: GenerativeModel, data: ImageData, trainer: pl.Trainer, seconds: dict[str, float]
) -> None:
    """Save config, weights and a record without numbers, which comes last: it implies that the others exist."""
    facts: dict[str, Any] = {
        "shape": list(data.shape),
        "train_images": data.size("train"),
        **data.facts(),
        **model.budget(),
        # What ran, whatever was asked for: fewer epochs, `auto` devices, a precision that the device does not have.
        "ran": {"epochs": trainer.current_epoch, "precision": trainer.precision, "devices": trainer.world_size},
    }
    checkpoints = trainer.checkpoint_callback
    if isinstance(checkpoints, PeriodicCheckpoint) and checkpoints.began:
        facts["began"] = checkpoints.began
    if found := convergence(model.done.validation_losses):
        facts["convergence"] = found
    if model.backbone.latent_shape:
        facts["latent_shape"] = list(model.backbone.latent_shape)
    if run.weight_caveat:
        facts["weight_caveat"] = run.weight_caveat
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    record = _record(run, "trained", facts=facts, n_parameters=n_parameters, seconds=seconds)
    (run.folder / FILE_NAME).unlink(missing_ok=True)  # of a model that this one replaces
    save_config(run.folder, _container(run) | {"choices": run.choices, "resolved": record.config["resolved"]})
    (run.folder / LAST_WEIGHTS_NAME).unlink(missing_ok=True)
    if model.last_weights is not None:
        save_weights(run.folder / LAST_WEIGHTS_NAME, model.last_weights)
    save_weights(run.folder / WEIGHTS_NAME, model.state_dict())
    record.save(run.folder)


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    write_atomically(path, save({name: tensor.contiguous().cpu() for name, tensor in state.items()}))


def failed_record(run: ResolvedRun, error: Exception, seconds: dict[str, float]) -> Record:
    """The record of a run whose training ended with an error."""
    status: Status = "refused" if isinstance(error, Refused) else "failed"
    return _record(run, status, facts={}, reason=reason_of(error), seconds=seconds)


def reason_of(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _record(run: ResolvedRun, status: Status, *, facts: dict[str, Any], **content: Any) -> Record:
    # Settings of measuring join the config with the numbers that they made.
    config = {key: value for key, value in _container(run).items() if key not in MEASURING_GROUPS}
    if run.trial:
        facts = facts | {"trial": dict(run.trial)}
    return Record(
        run_id=run.folder.name,
        study=run.config.study,
        status=status,
        choices=run.choices,
        preset=preset(run.choices["method"]),
        config=config | {"resolved": facts},
        environment=environment(
            cpu_threads=torch.get_num_threads(),
            matrix_library=_matrix_library(),
            gpu=torch.cuda.get_device_name() if training_device(run.config) == "cuda" else None,
        ),
        **content,
    )


def _matrix_library() -> str:
    """Such as `MKL 2024.2 AVX512`: with another library or code path, sums are rounded in another order.

    The last word is torch's code path. MKL's own is not known unless it was chosen.
    """
    built = torch.__config__.show()
    mkl = re.search(r"Math Kernel Library Version (\S+?)(-|\s)", built)
    blas = re.search(r"BLAS_INFO=(\w+)", built)
    name = f"MKL {mkl[1]}" if mkl else blas[1] if blas else "unknown"
    if path := os.environ.get(MKL_PATH):
        name += f" ({MKL_PATH}={path})"
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def _container(run: ResolvedRun) -> dict[str, Any]:
    return OmegaConf.to_container(run.config, resolve=True)  # type: ignore[return-value]


def provenance(device: torch.device, seconds: float) -> dict[str, Any]:
    """What made the numbers of an evaluation, for the record."""
    return {
        "version": __version__,
        "git_commit": git_commit(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "seconds": round(seconds, 3),
    }
