"""Builds the parts of a run from its config."""

import math
import os
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from latentbench.backbones.base import Backbone
from latentbench.configuration import targets
from latentbench.configuration.catalogue import PARTS, option_files
from latentbench.configuration.identity import model_arguments
from latentbench.configuration.weight import work_out
from latentbench.data.base import ImageData, Split
from latentbench.errors import Refused, UserError
from latentbench.evaluation.part_checks import (
    CONTRACTS,
    check_kind,
    check_measuring_parts,
    check_model_at_first_use,
)
from latentbench.models.base import GenerativeModel


def build(node: DictConfig, **arguments: Any) -> Any:
    """Instantiate a part of the config.

    arguments: arguments of its constructor that are not in the config
    Raises: UserError if the class cannot be imported, or its constructor rejects a value.
    """
    try:
        return targets.build(node, **arguments)
    except MisconfigurationException as error:  # of Lightning's trainer
        settings = {key: value for key, value in node.items() if key != "_target_"}
        raise UserError(f"{node._target_.rpartition('.')[2]} cannot be built with {settings}: {error}") from error


def build_data(config: DictConfig) -> ImageData:
    """Set the number of threads and prepare the data set."""
    torch.set_num_threads(config.threads)
    threadpool_limits(limits=config.threads)  # for the libraries that scikit-learn and numpy call
    data: ImageData = build(config.data, seed=config.seed)
    check_kind(data, ImageData)
    data.setup()
    return data


def build_seeded_model(config: DictConfig, data: ImageData) -> GenerativeModel:
    """Seed all random numbers of the run, then build the model."""
    pl.seed_everything(config.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED", None)  # otherwise processes that Lightning starts would seed again
    model = build_model(config, data)
    if reason := model.refuses(data):
        raise Refused(reason)
    check_model_at_first_use(model, data.shape)
    return model


class DataFacts(NamedTuple):
    """What a model needs to know of its data, for stored runs whose data is not here."""

    shape: tuple[int, int, int]
    train_images: int

    def size(self, split: Split) -> int:
        """Number of training images."""
        assert split == "train"
        return self.train_images


def build_model(config: DictConfig, data: ImageData | DataFacts) -> GenerativeModel:
    """The model with the parts its constructor takes. Raises: Refused if one is missing or two do not fit together."""
    needed = model_arguments(config)
    for group in PARTS:
        if group in needed and config.get(group) is None:
            options = ", ".join(path.stem for path in option_files(group))
            raise Refused(
                f"{group}=null: {config.model._target_.rpartition('.')[2]} needs one; choose one of {options}"
            )

    def part(group: str, **arguments: Any) -> Any:
        made = build(config[group], **arguments)
        check_kind(made, CONTRACTS[group])
        return made

    latent_size = config.latent_size * positions(config.backbone, data.shape)
    parts = {"prior": part("prior", latent_size=latent_size, shape=data.shape)}
    coordinates = parts["prior"].coordinates
    if "posterior" in needed:
        parts["posterior"] = part("posterior", latent_size=latent_size, coordinates=coordinates)
        coordinates = parts["posterior"].coordinates
    raw_channels = data.shape[0]
    if "likelihood" in needed:
        parts["likelihood"] = part("likelihood")
        raw_channels = parts["likelihood"].raw_channels(raw_channels)
    parts["backbone"] = part("backbone", latent_size=coordinates, shape=data.shape, raw_channels=raw_channels)
    if "regularizer" in needed:
        parts["regularizer"] = part("regularizer", latent_size=coordinates)
    parts |= {group: part(group) for group in PARTS if group in needed and group not in parts}
    if "beta" in needed:
        parts["beta"] = work_out(config.beta, pixels=math.prod(data.shape), latents=coordinates)
    if "dataset_size" in needed:
        parts["dataset_size"] = data.size("train")
    model: GenerativeModel = build(config.model, **parts)
    return model


def positions(backbone: DictConfig, shape: tuple[int, int, int]) -> int:
    """Number of positions of the backbone's grid of latents, each with latent_size dimensions; 1 if it has none."""
    kind = targets.locate(backbone._target_)
    if not (isinstance(kind, type) and issubclass(kind, Backbone)):
        return 1  # check_kind says what is wrong
    settings: Any = OmegaConf.to_container(backbone, resolve=True)
    return math.prod(kind.grid(shape=shape, settings=settings) or ())


def build_measuring_parts(settings: DictConfig, data: ImageData) -> dict[str, Any]:
    """The samplers, metrics and features with which a trained model is measured.

    settings: a config with the groups `sampler`, `metric` and `features`
    """
    parts = {
        "samplers": {name: build(node) for name, node in (settings.get("sampler") or {}).items()},
        "metrics": {name: build(node) for name, node in (settings.get("metric") or {}).items()},
        "features": {
            name: build(node, data_name=data.name, shape=data.shape) for name, node in settings.features.items()
        },
    }
    check_measuring_parts(parts, data)
    return parts
