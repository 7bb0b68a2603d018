"""Builds the parts of a run from its config."""

import functools
import os
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from latentbench.configuration.catalogue import PARTS
from latentbench.data.base import ImageData
from latentbench.errors import Refused, UserError
from latentbench.models.base import GenerativeModel
from latentbench.running.job import model_arguments


def build(node: DictConfig, **arguments: Any) -> Any:
    """Instantiate a part of the config.

    arguments: arguments of its constructor that are not in the config
    Raises: UserError if the constructor rejects a value.
    """
    settings: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    target = settings.pop("_target_")
    try:
        return _constructor(target)(**(settings | arguments))
    except (TypeError, ValueError, AssertionError, MisconfigurationException) as error:
        raise UserError(f"{target.rpartition('.')[2]} cannot be built with {settings}: {error}") from error


@functools.cache
def _constructor(target: str) -> Any:
    """What a `_target_` names, if Hydra allows it; Hydra would copy a part's settings several times to call it."""
    return instantiate({"_target_": target}, _partial_=True)


def build_data(config: DictConfig) -> ImageData:
    """Set the number of threads and prepare the data set."""
    torch.set_num_threads(config.threads)
    threadpool_limits(limits=config.threads)  # for the libraries that scikit-learn and numpy call
    data: ImageData = build(config.data, seed=config.seed)
    data.setup()
    return data


def build_seeded_model(config: DictConfig, data: ImageData) -> GenerativeModel:
    """Seed all random numbers of the run, then build the model."""
    pl.seed_everything(config.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED", None)  # otherwise processes that Lightning starts would seed again
    return build_model(config, data)


def build_model(config: DictConfig, data: ImageData) -> GenerativeModel:
    """The model with the parts its constructor takes. Raises: Refused if one is missing or two do not fit together."""
    needed = model_arguments(config)
    for group in PARTS:
        if group in needed and config.get(group) is None:
            raise Refused(f"{config.model._target_.rpartition('.')[2]} needs a {group}: name one")
    parts = {"prior": build(config.prior, latent_size=config.latent_size, shape=data.shape)}
    coordinates = parts["prior"].coordinates
    if "posterior" in needed:
        parts["posterior"] = build(config.posterior, latent_size=config.latent_size, coordinates=coordinates)
        coordinates = parts["posterior"].coordinates
    parts["backbone"] = build(config.backbone, latent_size=coordinates, shape=data.shape)
    if "regularizer" in needed:
        parts["regularizer"] = build(config.regularizer, latent_size=coordinates)
    parts |= {part: build(config[part]) for part in PARTS if part in needed and part not in parts}
    if "dataset_size" in needed:
        parts["dataset_size"] = data.size("train")
    model: GenerativeModel = build(config.model, **parts)
    return model


def build_evaluation_parts(config: DictConfig, data: ImageData) -> dict[str, Any]:
    """The samplers, metrics and features with which a trained model is evaluated."""
    return {
        "samplers": {name: build(node) for name, node in (config.get("sampler") or {}).items()},
        "metrics": {name: build(node) for name, node in (config.get("metric") or {}).items()},
        "features": build(config.features, data_name=data.name, shape=data.shape),
    }
