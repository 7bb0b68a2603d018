"""The Hydra app: compose, seed, build, fit, evaluate, record."""

import collections
import contextlib
import inspect
import io
import logging
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save
from threadpoolctl import threadpool_limits

from latentbench.configuration import CONF_DIR, check, choices, explain, run_id
from latentbench.data.base import ImageData
from latentbench.errors import Diverged, Refused, UserError
from latentbench.evaluate import Evaluation, evaluate
from latentbench.help import help_text
from latentbench.loggers.base import RunLogger
from latentbench.models.base import GenerativeModel
from latentbench.progress import EpochBar
from latentbench.record import FILE_NAME, Record, Status, described, status_of, write_whole

log = logging.getLogger(__name__)


def run(config: DictConfig, options: Mapping[str, Any]) -> str:
    """Train and evaluate one model and leave its record; a finished run is not run again unless `force`.

    options: Hydra's `runtime.choices`, the option of every group.

    Returns: what became of it. Raises, after the record of it is written: Refused, UserError or whatever failed.
    """
    check(config)
    config, chosen = settle(config, options)
    name = run_id(config, chosen)
    run_dir = Path(config.output_dir) / config.study / name
    if status_of(run_dir) == "finished" and not config.force:
        log.info("%s is finished already (force=true runs it again)", run_dir)
        return "finished before"
    make_writable(run_dir)
    resolved: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    about: dict[str, Any] = {"run_id": name, "study": config.study, "choices": chosen, "config": resolved}
    clock = Clock()
    logger: RunLogger = build(config.logger)
    failed = True
    try:
        torch.set_num_threads(config.threads)
        threadpool_limits(limits=config.threads)  # of scikit-learn's and numpy's libraries
        data = build(config.data, seed=config.seed)
        data.setup()
        measures = build_measures(config, data)
        # After these, so that no choice of features or metrics moves the model's random numbers.
        pl.seed_everything(config.seed, verbose=False)
        model = build_model(config, data)
        about["n_parameters"] = sum(parameter.numel() for parameter in model.parameters())
        clock.lap("setup")
        lightning_logger = logger.start(
            run_dir=run_dir, study=config.study, run_id=name, choices=chosen, config=resolved
        )
        trainer = fit(config, model, data, lightning_logger or False, run_dir)
        clock.lap("fit")
        device = trainer.strategy.root_device
        # Apple's GPUs have no float64, which sums of moments and likelihoods need.
        device = torch.device("cpu") if device.type == "mps" else device
        evaluation = evaluate(model=model, data=data, seed=config.seed, device=device, **measures)
        clock.lap("evaluate")
        resolved["resolved"] = evaluation.facts
        about |= {key: getattr(evaluation, key) for key in ("metrics", "errors", "skipped", "warnings")}
        record = Record(status="finished", seconds=clock.seconds, environment=environment(), **about)
        keep(run_dir, model, evaluation)
        record.save(run_dir)
        logger.finish(record, evaluation.images)
        failed = False
    except Exception as error:
        status: Status = "refused" if isinstance(error, Refused) else "failed"
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        record = Record(status=status, reason=reason, seconds=clock.seconds, environment=environment(), **about)
        record.save(run_dir)
        logger.finish(record, {})
        raise
    finally:
        logger.close(failed=failed)
    log.info("\n".join([str(run_dir / FILE_NAME), *described(record)]))
    return "finished"


def build(node: DictConfig, **parts: Any) -> Any:
    """Instantiate a part of the config with what only the run knows. Raises: UserError if it does not take a value."""
    # By way of a partial, so that Hydra neither copies the given parts nor wraps what their constructor raises.
    try:
        return instantiate(node, _partial_=True, _convert_="all")(**parts)
    except (TypeError, ValueError, AssertionError, MisconfigurationException) as error:
        name, given = node._target_.rpartition(".")[2], {key: node[key] for key in node if key != "_target_"}
        raise UserError(f"{name} cannot be made from {given}: {error}") from error


# What a model may do without; its constructor says what it takes.
OPTIONAL_PARTS = ("posterior", "regularizer", "likelihood", "objective", "schedule")


def taken_by_model(config: DictConfig) -> set[str]:
    """Names of what the model's constructor takes."""
    return set(inspect.signature(get_class(config.model._target_)).parameters)


def settle(config: DictConfig, options: Mapping[str, Any]) -> tuple[DictConfig, dict[str, Any]]:
    """The run as it will be, and its choices: a GAN has no likelihood, whichever is set for its competitors."""
    unused = [group for group in OPTIONAL_PARTS if group not in taken_by_model(config)]
    settled = OmegaConf.masked_copy(config, [str(key) for key in config if key not in unused])
    # beta=1 and beta=1.0 are one run, and so are all without a regularizer to weigh.
    settled.beta = None if "regularizer" in unused else float(config.beta)
    return settled, choices(settled, options) | dict.fromkeys(unused)


def build_model(config: DictConfig, data: ImageData) -> GenerativeModel:
    """The model of the chosen parts. Raises: Refused if it lacks one or they do not fit together."""
    taken = taken_by_model(config)
    for group in OPTIONAL_PARTS:
        if group in taken and config.get(group) is None:
            raise Refused(f"{config.model._target_.rpartition('.')[2]} needs a {group}: name one")
    parts = {"prior": build(config.prior, latent_size=config.latent_size, shape=data.shape)}
    coordinates = parts["prior"].coordinates
    if "posterior" in taken:
        parts["posterior"] = build(config.posterior, latent_size=config.latent_size, coordinates=coordinates)
        coordinates = parts["posterior"].coordinates
    parts["backbone"] = build(config.backbone, latent_size=coordinates, shape=data.shape)
    if "regularizer" in taken:
        parts["regularizer"] = build(config.regularizer, latent_size=coordinates)
    parts |= {group: build(config[group]) for group in ("likelihood", "objective", "schedule") if group in taken}
    if "dataset_size" in taken:
        parts["dataset_size"] = data.size("train")
    model: GenerativeModel = build(config.model, **parts)
    return model


def fit(config: DictConfig, model: GenerativeModel, data: ImageData, logger: Any, run_dir: Path) -> pl.Trainer:
    """Train for `trainer.max_epochs` epochs."""
    trainer: pl.Trainer = build(
        config.trainer,
        logger=logger,
        callbacks=[EpochBar()],
        default_root_dir=str(run_dir),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # terms are logged once an epoch anyhow; more would only warn of short epochs
    )
    try:
        trainer.fit(model, datamodule=data)
    except SystemExit:  # how Lightning ends after Ctrl-C
        raise KeyboardInterrupt from None
    return trainer


def build_measures(config: DictConfig, data: ImageData) -> dict[str, Any]:
    """Every sampler and metric named in the run, and the features: before training, so that mistakes show at once."""
    return {
        "samplers": {name: build(node) for name, node in (config.get("sampler") or {}).items()},
        "metrics": {name: build(node) for name, node in (config.get("metric") or {}).items()},
        "features": build(config.features, data_name=data.name, shape=data.shape),
    }


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


def environment() -> dict[str, Any]:
    """Code, packages and hardware a run was made with, and the process's peak memory so far."""
    packages = (
        "latentbench",
        "torch",
        "pytorch-lightning",
        "torchmetrics",
        "scikit-learn",
        "numpy",
        "hydra-core",
    )
    return {
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "platform": platform.platform(),
        "cpu_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        # Linux counts kilobytes, macOS bytes.
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**20 if sys.platform == "darwin" else 2**10),
    }


def git_commit() -> str | None:
    """The commit of the checkout the code is in, with `-dirty` for uncommitted changes; None for an installed wheel."""
    checkout = CONF_DIR.parent
    if not (checkout / ".git").exists():  # an installed package may lie inside somebody else's repository
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, phase: str) -> None:
        """End a phase."""
        now = time.monotonic()
        self.seconds[phase] = round(now - self.last, 3)
        self.last = now


def main() -> None:
    """The command `latentbench`. Exit code 1: a run failed; 2: the command cannot be carried out as given."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        with contextlib.suppress(BrokenPipeError):  # of a reader who has seen enough
            print(help_text(), flush=True)
        return
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # of Lightning's own code
    warnings.filterwarnings("ignore", message=".*have no `validation_step`.*")  # a GAN has nothing to validate
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes exceptions on; they are explained here
    outcomes: collections.Counter[str] = collections.Counter()

    @hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
    def app(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        multirun = hydra_config.mode == RunMode.MULTIRUN
        try:
            outcomes[run(config, hydra_config.runtime.choices)] += 1
        except Refused as error:
            log.error("refused: %s", error)
            # In a sweep a refused pair is a result like any other.
            outcomes["refused" if multirun else "wrong"] += 1
        except (UserError, OmegaConfBaseException) as error:
            log.error("latentbench: %s", explain(error))
            outcomes["wrong"] += 1
        except Diverged as error:
            log.error("failed: %s", error)
            outcomes["failed"] += 1
        except Exception:
            log.exception("failed: %s", " ".join(hydra_config.overrides.task))
            outcomes["failed"] += 1

    try:
        app()
    except (HydraException, OmegaConfBaseException) as error:
        print(f"latentbench: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:  # of Hydra, which does not say where
        print(f"latentbench: {error} (in: {' '.join(sys.argv[1:])})", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # of Hydra, which makes a sweep's folder
        print(f"latentbench: output_dir cannot be written ({error}): choose another", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("latentbench: interrupted; the same command goes on with the runs that are not finished", file=sys.stderr)
        sys.exit(130)
    if outcomes.total() > 1:
        print("runs:", ", ".join(f"{count} {what}" for what, count in outcomes.items()), file=sys.stderr)
    sys.exit(1 if outcomes["failed"] else 2 if outcomes["wrong"] else 0)


if __name__ == "__main__":
    main()
