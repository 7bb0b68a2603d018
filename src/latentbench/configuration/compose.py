"""A composed config, and what is wrong with a command that cannot be composed."""

import difflib
import re

from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import CONF_DIR, GROUPS, LISTED, SCALARS, option_files


def compose_config(overrides: list[str]) -> DictConfig:
    """The config that `latentbench <overrides>` would run, with Hydra's own part under `hydra`."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", overrides=overrides, return_hydra_config=True)


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
