"""The parts of a run, made from its config."""

import os
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from threadpoolctl import threadpool_limits

from latentbench.configuration.catalogue import PARTS
from latentbench.data.base import ImageData
from latentbench.errors import Refused, UserError
from latentbench.models.base import GenerativeModel
from latentbench.running.job import taken_by_model


def load(config: DictConfig) -> ImageData:
    """The data set, as many threads as are set."""
    torch.set_num_threads(config.threads)
    threadpool_limits(limits=config.threads)  # of scikit-learn's and numpy's libraries
    data: ImageData = build(config.data, seed=config.seed)
    data.setup()
    return data


def seeded_model(config: DictConfig, data: ImageData) -> GenerativeModel:
    """The model, from where the run's random numbers begin."""
    pl.seed_everything(config.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED", None)  # by which Lightning's processes would begin them again
    return build_model(config, data)


def build(node: DictConfig, **parts: Any) -> Any:
    """Instantiate a part of the config with what only the run knows. Raises: UserError if it does not take a value."""
    # By way of a partial, so that Hydra neither copies the given parts nor wraps what their constructor raises.
    try:
        return instantiate(node, _partial_=True, _convert_="all")(**parts)
    except (TypeError, ValueError, AssertionError, MisconfigurationException) as error:
        name, given = node._target_.rpartition(".")[2], {key: node[key] for key in node if key != "_target_"}
        raise UserError(f"{name} cannot be made from {given}: {error}") from error


def build_model(config: DictConfig, data: ImageData) -> GenerativeModel:
    """The model of the chosen parts. Raises: Refused if it lacks one or they do not fit together."""
    taken = taken_by_model(config)
    for group in PARTS:
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
    parts |= {part: build(config[part]) for part in PARTS if part in taken and part not in parts}
    if "dataset_size" in taken:
        parts["dataset_size"] = data.size("train")
    model: GenerativeModel = build(config.model, **parts)
    return model


def build_measures(config: DictConfig, data: ImageData) -> dict[str, Any]:
    """Every sampler and metric named in the run, and the features: before training, so that mistakes show at once."""
    return {
        "samplers": {name: build(node) for name, node in (config.get("sampler") or {}).items()},
        "metrics": {name: build(node) for name, node in (config.get("metric") or {}).items()},
        "features": build(config.features, data_name=data.name, shape=data.shape),
    }
