"""Where the YAMLs are, what a composed config means, and what makes a run the run it is."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from latentbench.errors import UserError

PACKAGE = Path(__file__).parent
# In a wheel conf/ lies inside the package, in a checkout at its root.
CONF_DIR = next(folder for folder in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if folder.is_dir())

GROUPS = (
    "method", "data", "model", "backbone", "posterior", "prior", "regularizer", "likelihood",
    "objective", "annealing",
    "sampler", "features", "metric", "trainer", "logger", "launcher", "sweep",
)  # fmt: skip
LISTED = ("sampler", "metric")  # of which a run has several options
SCALARS = ("seed", "beta", "latent_size", "study", "output_dir", "force")
# What cannot change a result has no part in a run's identity.
WITHOUT_EFFECT = (
    "study",
    "output_dir",
    "force",
    "checkpoint_seconds",
    "logger",
    "launcher",
    "question",
    "table",
    "sweep",
    "data.root",
    "data.mirrors",
)


def compose_config(overrides: list[str]) -> DictConfig:
    """The config that `latentbench <overrides>` would run, with Hydra's own part under `hydra`."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", overrides=overrides, return_hydra_config=True)


def option_files(group: str) -> list[Path]:
    """The YAMLs of a group, by name."""
    return sorted((CONF_DIR / group).glob("*.yaml"))


def sentence(path: Path) -> str:
    """What an option is: the first comment of its YAML that is not a directive to Hydra."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @"):
            return line.removeprefix("# ")
    return ""


def explain(error: Exception) -> str:
    """What Hydra or OmegaConf found wrong with a command, in one line that says what would be right."""
    while not isinstance(error, MissingConfigException) and isinstance(error.__cause__, MissingConfigException):
        error = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        there = ", ".join(path.stem for path in option_files(group))
        return f"{group}={option}: there is no such option; choose one of {there}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unknown = re.match(r"Could not override '([\w./@]+)'", lines[0] if lines else "")
    if unknown:
        part, _, key = unknown[1].rpartition(".")
        known = [*GROUPS, *SCALARS]
        if part in GROUPS:
            keys_of = {path.stem: [str(k) for k in OmegaConf.load(path)] for path in option_files(part)}
            known = sorted({name for keys in keys_of.values() for name in keys})
            if key in known:
                takers = " or ".join(option for option, keys in keys_of.items() if key in keys)
                return f"{unknown[1]}: the chosen {part} has no such key; there is one with {part}={takers}"
        group, _, option = part.partition(".")
        if group in LISTED and (path := CONF_DIR / group / f"{option}.yaml").is_file():  # as metric.nll
            known = [str(name) for name in OmegaConf.select(OmegaConf.load(path), option)]
            if key in known:
                return f"{unknown[1]}: {option} is not chosen; add it to {group}=[...]"
        whole = OmegaConf.load(CONF_DIR / "config.yaml")
        if part and OmegaConf.is_dict(within := OmegaConf.select(whole, part)):  # as of table.figures
            known = [str(name) for name in within]
            if key in known:
                return f"{unknown[1]} has no such key yet; add one by +{unknown[1]}.<name>=..."
        there = ", ".join(name for name in known if name not in ("_target_", "defaults")) or "none"
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {'.'.join(filter(None, [part, near[0]]))}?" if near else f"there are {there}"
        return f"{unknown[1]}: there is no such key; {hint}"
    return " ".join(lines) or type(error).__name__


def choices(config: DictConfig, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Option of every group and value of every scalar; `chosen` is Hydra's `runtime.choices`."""
    groups = {group: None if chosen.get(group) in (None, "null") else chosen[group] for group in GROUPS}
    groups |= {group: sorted(config.get(group) or {}) for group in LISTED}
    return groups | {scalar: config[scalar] for scalar in SCALARS}


def check(config: DictConfig) -> None:
    """Raises: UserError if a scalar has no meaning."""
    bounds = {"seed": (0, 2**32 - 1), "latent_size": (1, None), "threads": (1, None), "trainer.max_epochs": (0, None)}
    for name, (least, most) in bounds.items():
        value = OmegaConf.select(config, name)
        if type(value) is not int or value < least or (most is not None and value > most):
            limit = "" if most is None else f" and {most} or less"
            raise UserError(f"{name}={value}: {name} must be a whole number, {least} or more{limit}")
    if type(config.beta) not in (int, float) or not 0 <= config.beta < math.inf:
        raise UserError(f"beta={config.beta}: beta must be a number, 0 or more")
    if type(config.checkpoint_seconds) not in (int, float) or not config.checkpoint_seconds >= 0:
        raise UserError(f"checkpoint_seconds={config.checkpoint_seconds}: give a number of seconds, 0 or more")
    for name, number in numbers(OmegaConf.to_container(config, resolve=False)):
        if not math.isfinite(number):
            raise UserError(f"{name}={number}: give a finite number")
    if type(config.force) is not bool:
        raise UserError(f"force={config.force}: force must be true or false")
    if type(config.output_dir) is not str or not config.output_dir:
        raise UserError(f"output_dir={config.output_dir}: output_dir must be a folder's path")
    if type(config.study) is not str or not re.fullmatch(r"\w[\w.-]*", config.study):
        raise UserError(
            f"study={config.study}: a study's name is a folder's name: letters, digits, '_', '-' and '.', no '.' first"
        )


def numbers(node: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every float of a nested container under its full key."""
    if isinstance(node, float):
        yield prefix, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers(value, f"{prefix}.{key}".lstrip("."))


def identity(config: DictConfig) -> dict[str, Any]:
    """The resolved config less what cannot change a result."""
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    for path in WITHOUT_EFFECT:
        *parents, leaf = path.split(".")
        holder = content
        for parent in parents:
            holder = holder.get(parent) or {}
        holder.pop(leaf, None)
    return {str(key): value for key, value in content.items()}


def run_id(config: DictConfig, chosen: dict[str, Any]) -> str:
    """Name of a run: its main choices, readable, and a hash of all that can change its result."""
    named = json.dumps([identity(config), {g: chosen[g] for g in ("method", "data")}], sort_keys=True)
    digest = hashlib.sha256(named.encode()).hexdigest()[:8]
    weight = "" if config.beta is None else f"-b{config.beta:g}"
    return f"{chosen['method']}-{chosen['data']}-d{config.latent_size}{weight}-s{config.seed}-{digest}"


def preset(method: str) -> dict[str, Any]:
    """The parts and the beta that a method's YAML stands for; empty for a method that is not there."""
    path = CONF_DIR / "method" / f"{method}.yaml"
    if not path.is_file():
        return {}
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    parts = {str(key).rpartition("/")[2]: option for entry in content.defaults for key, option in entry.items()}
    usual = {"model": "autoencoder", "objective": "elbo", "annealing": "constant", "beta": content.get("beta", 1.0)}
    return usual | parts
