"""The identity of a run: its choices and its id."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import GROUPS, MEASURING_GROUPS, MULTI_OPTION_GROUPS, SCALARS, USUAL_PARTS
from latentbench.configuration.targets import locate

# Settings that cannot change a result: configs that differ only in these have the same run id.
WITHOUT_EFFECT = (
    "study",
    "output_dir",
    "force",
    "checkpoint_seconds",
    "keep_state",
    "replay",
    "cuda_graph",  # what older records call it
    "measure_against",
    "logger",
    "launcher",
    "question",
    "published",
    "search",
    "tune",
    "table",
    "sweep",
    "data.root",
    "data.mirrors",
)

# Settings that came later, with the values that all runs had before. At these values they are not part of a run's
# identity, so that ids stay. Records from before do not name them.
LATER_CHOICES = {"optimizer": "adam", "schedule": "constant", "trial": 0}
LATER: dict[str, Any] = {
    "trial": 0,
    "optimizer": {
        "_target_": "latentbench.optimizers.adam.Adam",
        "betas": None,
        "eps": 1e-8,
        "weight_decay": 0.0,
    },
    "schedule": {"_target_": "latentbench.schedules.constant.Constant"},
    "model.beta1": None,
    "trainer.gradient_clip": None,
    "trainer.accumulate": 1,
    "trainer.ema": None,
    "trainer.patience": None,
    "trainer.keep": "last",
    "data.flip": False,
}


def without_later(content: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config without the settings that came later and have the value that runs had before."""
    kept = dict(content)
    for path, value in LATER.items():
        group, _, key = path.partition(".")
        holder = kept.get(group)
        if not key and holder == value:
            del kept[group]
        elif key and isinstance(holder, Mapping) and key in holder and holder[key] == value:
            kept[group] = {name: each for name, each in holder.items() if name != key}
    return kept


def with_later(content: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a record with the settings that came later, where it does not name them."""
    filled = dict(content)
    for path, value in LATER.items():
        group, _, key = path.partition(".")
        if not key and "trainer" in filled:  # as every whole config has
            filled.setdefault(group, value)
        elif key and isinstance(holder := filled.get(group), Mapping):
            filled[group] = {key: value, **holder}
    return filled


def choices(config: DictConfig, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The option chosen in every group, and the value of every scalar.

    chosen: Hydra's `runtime.choices`
    """
    groups = {group: None if chosen.get(group) in (None, "null") else chosen[group] for group in GROUPS}
    groups |= {group: sorted(config.get(group) or {}) for group in MULTI_OPTION_GROUPS}
    return groups | {scalar: config[scalar] for scalar in SCALARS}


def model_arguments(config: DictConfig) -> set[str]:
    """Names of the arguments that the model's constructor takes. Imports the model."""
    return set(inspect.signature(locate(config.model._target_)).parameters)


def identity(config: DictConfig) -> dict[str, Any]:
    """The resolved config without the settings that cannot change a trained model."""
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    for path in (*WITHOUT_EFFECT, *MEASURING_GROUPS):
        *parents, leaf = path.split(".")
        holder = content
        for parent in parents:
            holder = holder.get(parent) or {}
        holder.pop(leaf, None)
    return without_later({str(key): value for key, value in content.items()})


def run_id(config: DictConfig, chosen: dict[str, Any]) -> str:
    """The id of a run: its main choices in readable form, and a hash of all settings that can change the model."""
    content = json.dumps([identity(config), {group: chosen[group] for group in ("method", "data")}], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    weight = f"-b{config.beta:g}" if isinstance(config.beta, float) else ""  # most formulas are their method's own
    trial = f"-t{config.trial}" if config.trial else ""
    return f"{method_name(chosen)}-{chosen['data']}-d{config.latent_size}{trial}{weight}-s{config.seed}-{digest}"


# The parts that name a run without a method.
NAMED_PARTS = ("model", "regularizer", "prior", "posterior", "objective", "annealing")


def method_name(chosen: Mapping[str, Any]) -> str:
    """The method of a run; of a run without one the parts that take its place, such as `mmd-uniform-gaussian`."""
    if chosen.get("method"):
        return str(chosen["method"])
    parts = {group: chosen.get(group) for group in NAMED_PARTS}
    return "-".join(option for group, option in parts.items() if option and option != USUAL_PARTS.get(group))


def method_words(chosen: Mapping[str, Any]) -> str:
    """The method as on the command line; of a run without one its parts, too."""
    return f"method={chosen.get('method') or f'null ({method_name(chosen)})'}"
