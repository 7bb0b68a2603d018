"""The settings of a run, and which of them tell it from other runs. Tables, pages, W&B and dashboards all use these.

A setting is a choice, such as `prior`, or a key of the config, such as `prior.components`. Runs that are the same but
for the seed are equal in what `shared_by_seeds` selects. Settings of measuring, such as `metric.nll.samples`, are not
part of it: a run is the same whichever of its metrics are measured. They tell numbers apart instead.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

from latentbench.configuration.catalogue import GROUPS, MEASURING_GROUPS, MULTI_OPTION_GROUPS, SCALARS
from latentbench.configuration.identity import LATER_CHOICES, WITHOUT_EFFECT, method_name, with_later

CLASS = "_target_"  # last part of a key whose value is a class path

Settings = dict[str, Any]


def settings(choices: Mapping[str, Any], config: Mapping[str, Any]) -> Settings:
    """Everything that can change a run's result: its choices, then the keys of its config, joined by dots."""
    order = [*GROUPS, *SCALARS]
    choices = {**(LATER_CHOICES if "trainer" in choices else {}), **choices}
    config = with_later(config)
    # The choice of features comes into the config with the numbers that they made.
    used = [key for key in choices if key not in MEASURING_GROUPS or key in config]
    chosen = sorted(used, key=lambda key: order.index(key) if key in order else len(order))
    values: Settings = {}
    _flatten({key: method_name(choices) if key == "method" else choices[key] for key in chosen}, values)
    _flatten({key: value for key, value in config.items() if key != "resolved"}, values)
    return values


def shared_by_seeds(values: Settings) -> Settings:
    """The settings that are equal in all runs that are the same but for the seed, and differ in all others."""
    return {key: value for key, value in values.items() if key != "seed" and not is_of_measuring(key)}


@functools.cache  # the records of a study have the same keys
def is_of_measuring(key: str) -> bool:
    """Whether a setting only affects how a trained model is measured."""
    return key.split(".")[0] in MEASURING_GROUPS


def _flatten(content: Mapping[str, Any], into: Settings, prefix: str = "") -> None:
    """Add the settings of nested `content` to `into`, without replacing any."""
    for key, value in content.items():
        path = prefix + key
        if isinstance(value, dict) and value:
            _flatten(value, into, f"{path}.")
        elif path not in into and _has_effect(path):
            into[path] = json.dumps(value) if isinstance(value, (list, dict)) else value


@functools.cache
def _has_effect(key: str) -> bool:
    """Whether a setting can change a recorded number."""
    # The lists of samplers, features and metrics decide which numbers are recorded, but not their values.
    return key not in MULTI_OPTION_GROUPS and not any(
        key == path or key.startswith(f"{path}.") for path in WITHOUT_EFFECT
    )
