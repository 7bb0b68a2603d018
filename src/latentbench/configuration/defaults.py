"""The settings that a run has if none is set on the command line."""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from latentbench.configuration.catalogue import (
    CONF_DIR,
    FIT_GROUPS,
    MEASURING_GROUPS,
    MULTI_OPTION_GROUPS,
    TRAINING_GROUPS,
    option_file,
    read_option,
)
from latentbench.configuration.settings import Settings, settings


def default_settings(choices: Mapping[str, Any], preset: Mapping[str, Any]) -> Settings:
    """The usual choices of a run's method, and the settings that the YAMLs of its own choices give."""
    config = read_option(CONF_DIR / "config.yaml")
    options = {group: option for entry in config["defaults"] if entry != "_self_" for group, option in entry.items()}
    content = OmegaConf.create({key: value for key, value in config.items() if key != "defaults"})
    for group in (*TRAINING_GROUPS, *MEASURING_GROUPS, *FIT_GROUPS):
        if group in MULTI_OPTION_GROUPS:
            for option in choices.get(group) or []:
                content.merge_with({group: _option(group, option)})
        elif group != "method" and choices.get(group):
            content.merge_with({group: _option(group, choices[group])})
    content.merge_with(_option("method", choices["method"]))
    # Interpolations stay as they are, since they refer to other settings of the run.
    return settings({**options, **preset}, OmegaConf.to_container(content, resolve=False))  # type: ignore[arg-type]


def _option(group: str, option: str) -> dict[str, Any]:
    """The content of an option's YAML with that of the options it starts from; empty if there is no such option."""
    path = option_file(group, option)
    if path is None:
        return {}
    content = dict(read_option(path))
    for base in content.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            content = _option(group, base) | content
    return content
