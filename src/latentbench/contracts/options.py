"""The options that contracts are checked on, and small things built of them."""

import copy
import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, flag_override
from torch import Tensor, nn

from latentbench.backbones.base import Backbone
from latentbench.configuration.catalogue import GROUPS, option_file, own_options
from latentbench.configuration.compose import compose_config
from latentbench.configuration.targets import locate
from latentbench.contracts import CHECKED
from latentbench.data.base import ImageData
from latentbench.errors import UserError
from latentbench.evaluation.build import build, build_model, positions
from latentbench.metrics.inputs import MetricInputs
from latentbench.models.autoencoder import Autoencoder
from latentbench.models.base import GenerativeModel
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Regularizer
from latentbench.samplers.base import Sampler

SEVERAL = ("sampler", "features", "metric")  # groups of which a run has a list
WITHOUT_TARGET = ("method", "sweep")  # groups that only set other groups
FEW_STEPS = 20


def options(group: str) -> list[str]:
    """Names of a group's options that are checked: what is added to conf/ is tested by being there."""
    return [CHECKED[group]] if group in CHECKED else own_options(group)


ALL = [(group, option) for group in CHECKED or GROUPS for option in options(group)]
WITH_TARGET = [(group, option) for group, option in ALL if group not in WITHOUT_TARGET]


@functools.cache
def yaml_of(group: str, option: str) -> Any:
    """What an option's YAML says, to be read only."""
    path = option_file(group, option)
    assert path is not None, f"there is no {group}={option}"
    return OmegaConf.load(path)


@functools.cache
def default_config(study: str) -> DictConfig:
    """The config without overrides, or of a study."""
    return composed(f"sweep={study}") if study else composed()


@functools.cache
def part_of_config(study: str, key: str, picked: tuple[str, ...]) -> tuple[Any, bool]:
    """What options set, or else the default config; and whether it stands alone, without values of other parts."""
    files = [yaml_of(key, option) for option in picked]
    node = OmegaConf.merge(*files) if files else default_config(study)._get_node(key)
    return node, "${" not in str(node)


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config of a command, to be read only: what Hydra composes, in a small part of its time.

    The default config, or a study's, is composed once, and parts of it are replaced; configs share the parts that they
    do not change. Of Hydra's own part the choices alone are kept. A test compares the result with Hydra's.
    """
    if "method=null" in overrides:
        return compose_config(list(overrides))
    pairs = [(key.lstrip("+"), value) for key, _, value in (override.partition("=") for override in overrides)]
    picked = {key: tuple(value.strip("[]").split(",")) for key, value in pairs if key in GROUPS}
    study = "".join(picked.pop("sweep", ()))
    method = "".join(picked.pop("method", ()))
    with_defaults = any("defaults" in yaml_of(key, name) for key, names in picked.items() for name in names)
    if len(overrides) <= bool(study) or with_defaults or not all(key[:1].isalpha() for key, _ in pairs):
        return compose_config(list(overrides))
    base, of_method = default_config(study), yaml_of("method", method) if method else OmegaConf.create()
    of_study = parts_of_method(yaml_of("sweep", study)) if study else {}  # has the last word, also over a method's
    picked = {key: (option,) for key, option in parts_of_method(of_method).items() if key not in of_study} | picked
    settings = OmegaConf.from_dotlist([f"{key}={value}" for key, value in pairs if key not in GROUPS])
    changes = [
        {key: file[key] for key in file if key not in ("defaults", "hydra")}
        for file in (of_method, yaml_of("sweep", study) if study else {}, settings)
    ]
    choices = {group: option for group, option in base.hydra.runtime.choices.items() if group in GROUPS}
    choices |= {group: list(names) if group in SEVERAL else names[0] for group, names in picked.items()}
    choices |= {"method": method} if method else {}
    config = OmegaConf.create({"hydra": {"runtime": {"choices": choices}}})
    with flag_override(config, "no_deepcopy_set_nodes", True):
        for key in [key for key in dict.fromkeys([*base, *picked]) if key != "hydra"]:
            node, stands_alone = part_of_config(study, key, picked.get(key, ()))
            is_shared = stands_alone and not any(key in change for change in changes)
            config[key] = node if is_shared else copy.deepcopy(node)
    if method:
        config.search = None  # the default method's
    for change in filter(None, changes):
        config.merge_with(change)
    OmegaConf.set_struct(config, True)
    return config


def parts_of_method(method: DictConfig) -> dict[str, str]:
    """The option of each group that a method's YAML picks."""
    picked = [entry for entry in method.get("defaults", []) if isinstance(entry, DictConfig)]
    return {key.removeprefix("override /"): option for entry in picked for key, option in entry.items()}


def chosen(group: str, option: str) -> str:
    """The override that picks an option."""
    return f"{group}=[{option}]" if group in SEVERAL else f"{group}={option}"


def with_every_value(cells: list[list[str]]) -> list[list[str]]:
    """As few cells of a grid as have all of its overrides among them."""
    values = [list(dict.fromkeys(column)) for column in zip(*cells, strict=True)]
    return [[column[i % len(column)] for column in values] for i in range(max(map(len, values), default=0))]


def node_of(group: str, option: str) -> DictConfig:
    """The part of the config that an option's YAML fills, to be read only."""
    node, stands_alone = part_of_config("", group, (option,))
    if not stands_alone or "defaults" in node:
        node = composed(chosen(group, option))[group]
    part: DictConfig = next(iter(node.values())) if group in SEVERAL else node
    return part


def part_of(group: str, option: str, **parts: Any) -> Any:
    """An option's object; a backbone's raw output has as many channels as images, unless it is told."""
    if group == "backbone":
        parts = {"raw_channels": parts["shape"][0]} | parts
    return build(node_of(group, option), **parts)


def sizes_for(backbone: str) -> list[tuple[int, int]]:
    """Height and width of images that a backbone takes."""
    size = locate(node_of("backbone", backbone)._target_).size
    return [size] if size else [(8, 8), (1, 5), (28, 28), (32, 32), (17, 23), (128, 128)]


def backbone_of(option: str, *, shape: tuple[int, int, int], latent_size: int, **settings: Any) -> Backbone:
    """A backbone for so many latent dimensions at each position of its grid, if it has one."""
    places = positions(node_of("backbone", option), shape)
    made: Backbone = part_of("backbone", option, shape=shape, latent_size=latent_size * places, **settings)
    return made


def brief_sampler(option: str, steps: int = FEW_STEPS) -> Sampler:
    """A sampler as its YAML sets it, but for fewer steps where it trains a network."""
    few = {"steps": steps} if "steps" in node_of("sampler", option) else {}
    made: Sampler = part_of("sampler", option, **few)
    return made


def brief_metric(option: str) -> Any:
    """A metric as its YAML sets it, but with fewer draws and temperatures where it takes any."""
    few = {"samples": 10, "temperatures": 3, "pilot": 2, "leapfrog_steps": 2}
    few |= {"trees": 5, "votes": 100, "judged": 100}
    return part_of("metric", option, **{key: value for key, value in few.items() if key in node_of("metric", option)})


def untrained(data: ImageData, *overrides: str) -> GenerativeModel:
    """A model with small networks and its first weights."""
    torch.default_generator.manual_seed(0)
    return build_model(composed("backbone=mlp", "backbone.hidden=[16]", *overrides), data)


def linear_autoencoder(scale: float, *, pixels: int = 6, latent_size: int = 2) -> Autoencoder:
    """A linear-Gaussian model of images of 1 row: x ~ N(W z + b, scale^2 I), and an affine encoder."""
    shape = (1, 1, pixels)
    model: Autoencoder = part_of(
        "model",
        "autoencoder",
        backbone=part_of("backbone", "linear", shape=shape, latent_size=latent_size),
        posterior=part_of("posterior", "gaussian", latent_size=latent_size, coordinates=latent_size),
        prior=part_of("prior", "normal", shape=shape, latent_size=latent_size),
        regularizer=part_of("regularizer", "kl", latent_size=latent_size),
        likelihood=part_of("likelihood", "gaussian", scale=scale),
        objective=part_of("objective", "elbo"),
        annealing=part_of("annealing", "constant"),
        dataset_size=100,
    )
    return model


@functools.cache
def plain(group: str, option: str) -> dict[str, Any]:
    """An option's YAML as a dict, interpolations unresolved; its networks small."""
    content: dict[str, Any] = OmegaConf.to_container(node_of(group, option), resolve=False)  # type: ignore[assignment]
    return content | ({"hidden": [16]} if isinstance(content.get("hidden"), list) else {})


@functools.cache
def _plain_node(group: str, option: str) -> DictConfig:
    return OmegaConf.create(plain(group, option))


def autoencoder(data: ImageData, *, latent_size: int = 3, **chosen: str) -> Autoencoder:
    """A small autoencoder of the given parts, the others Gaussian. Raises: Refused."""
    torch.default_generator.manual_seed(0)
    defaults = {"model": "autoencoder", "backbone": "mlp", "posterior": "gaussian", "prior": "normal"}
    defaults |= {"regularizer": "kl", "likelihood": "gaussian", "objective": "elbo", "annealing": "constant"}
    config = OmegaConf.create({"beta": 1.0, "latent_size": latent_size})
    with flag_override(config, "no_deepcopy_set_nodes", True):
        config.update({group: _plain_node(group, option) for group, option in (defaults | chosen).items()})
    model = build_model(config, data)
    assert isinstance(model, Autoencoder)
    return model


@functools.cache
def _posterior_and_prior(posterior: str, prior: str) -> tuple[Posterior, Prior]:
    nodes = OmegaConf.create({"posterior": plain("posterior", posterior), "prior": plain("prior", prior)})
    p = build(nodes.prior, latent_size=3, shape=(1, 8, 8))
    return build(nodes.posterior, latent_size=3, coordinates=p.coordinates), p


@functools.cache
def _regularizer(option: str, settings: tuple[tuple[str, int], ...], size: int) -> Regularizer:
    made: Regularizer = build(OmegaConf.create(plain("regularizer", option) | dict(settings)), latent_size=size)
    return made


@functools.cache
def refusal_of(posterior: str, prior: str, regularizer: str, settings: tuple[tuple[str, int], ...] = ()) -> str | None:
    """Why a posterior, a prior and a regularizer cannot be combined, without building a model."""
    q, p = _posterior_and_prior(posterior, prior)
    return _regularizer(regularizer, settings, q.coordinates).refuses(posterior=q, prior=p)


def encoder(posterior: Posterior, pixels: int = 4) -> nn.Sequential:
    """An affine encoder of images of so many pixels, with the given posterior."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, posterior.inputs), posterior)


def shaken(module: Any, by: float = 0.5) -> Any:
    """The module, its weights moved at random from where they were."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(by * torch.randn_like(weight))
    return module


def inputs(reference: Tensor, **parts: Any) -> MetricInputs:
    """MetricInputs of given parts, for grey images, with the reference as held-out images too."""
    given = {"model": None, "data": SimpleNamespace(is_binary=False), "features": None, "images": {}, "skipped": {}}
    return MetricInputs(**(given | {"reference": reference, "held_out": reference} | parts))


def features_for(option: str, data_name: str, shape: tuple[int, int, int]) -> Any:
    """Features as their YAML sets them; skips the test where their weights or what they are built with is not there."""
    try:
        return part_of("features", option, data_name=data_name, shape=shape)
    except UserError as error:
        if any(words in str(error) for words in ("latentbench[", "fetch it", "latentbench-features")):
            pytest.skip(str(error))
        raise
