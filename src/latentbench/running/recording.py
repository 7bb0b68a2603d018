"""The files that a run writes to its folder: weights, images and its record."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from safetensors.torch import save
from torch import nn

from latentbench.errors import Refused, UserError
from latentbench.evaluation.evaluate import Evaluation
from latentbench.loggers.base import RunInfo
from latentbench.records.provenance import Clock, environment
from latentbench.records.record import Record, Status, write_atomically
from latentbench.records.store import IMAGES_NAME
from latentbench.running.job import ResolvedRun

WEIGHTS_NAME = "model.safetensors"


class RecordDraft:
    """Collects the content of a run's record while it runs, and makes the record whether it finishes or fails."""

    def __init__(self, run: ResolvedRun) -> None:
        self.run = run
        self.config: dict[str, Any] = OmegaConf.to_container(run.config, resolve=True)  # type: ignore[assignment]
        self.n_parameters: int | None = None
        self.clock = Clock()

    def info(self, *, resumed: bool) -> RunInfo:
        """What a logger needs when the run starts."""
        return RunInfo(
            run_id=self.run.folder.name,
            study=self.run.config.study,
            choices=self.run.choices,
            config=self.config,
            folder=self.run.folder,
            resumed=resumed,
        )

    def finished(self, evaluation: Evaluation) -> Record:
        """The record of a run that was trained and evaluated."""
        self.config["resolved"] = evaluation.facts
        return self._record(
            "finished",
            metrics=evaluation.metrics,
            standard_errors=evaluation.standard_errors,
            skipped=evaluation.skipped,
            caveats=evaluation.caveats,
        )

    def failed(self, error: Exception) -> Record:
        """The record of a run that ended with an error."""
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return self._record("refused" if isinstance(error, Refused) else "failed", reason=reason)

    def _record(self, status: Status, **content: Any) -> Record:
        return Record(
            run_id=self.run.folder.name,
            study=self.run.config.study,
            status=status,
            choices=self.run.choices,
            config=self.config,
            n_parameters=self.n_parameters,
            seconds=self.clock.seconds,
            environment=environment(
                cpu_threads=torch.get_num_threads(),
                gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            ),
            **content,
        )


def save_weights(run_dir: Path, model: nn.Module) -> None:
    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    write_atomically(run_dir / WEIGHTS_NAME, save(weights))


def save_images(run_dir: Path, images: dict[str, np.ndarray]) -> None:
    """Write the images of every set, and the arrays for plots of the latents."""
    archive = io.BytesIO()
    # The type stubs mistake the keys for options of savez_compressed.
    np.savez_compressed(archive, **images)  # type: ignore[arg-type]
    write_atomically(run_dir / IMAGES_NAME, archive.getvalue())
