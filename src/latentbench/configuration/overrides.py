"""What Hydra takes and nobody means: put into the words that Hydra reads as meant, or refused."""

import os
import re
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import GROUPS, MULTI_OPTION_GROUPS, PARTS, SPLITS, config_keys, option_files
from latentbench.configuration.messages import explain_unknown_key
from latentbench.errors import UserError

# Groups of which a run may have no option. Of the parts a model needs some, which `build_model` checks.
OPTIONAL_GROUPS = ("method", "sweep", *PARTS, "sampler", "metric")
PRESET_GROUPS = ("method", "sweep")  # their YAMLs set keys of the whole config
WEIGHTS = tuple(f"features.{option}.weights" for option in ("inception", "dinov2", "clip"))
PATHS = ("output_dir", "to", "data.root", *WEIGHTS, "launcher.folder")
TEXTS = ("study", "logger.project", "logger.entity", "launcher.partition", *PATHS)
HYDRA_SYNTAX = re.compile(r"[\"'\\\[\]{}()]")
NUMBER = re.compile(r"[+-]?\.?\d")
UNREADABLE = re.compile(r"[^\w\s,/+.$%*@?|:=-]|[^\x00-\x7f]")  # characters that Hydra reads between quotes only


def translate(words: Iterable[str]) -> list[str]:
    """The overrides in words that Hydra reads as meant. Raises: UserError if a group gets something else than options.

    `group=null` takes the group's option away. A name or a path may be a number, and have any letters.
    """
    parser = OverridesParser.create()
    translated: list[str] = []
    for word in map(_quote, words):
        group = _group_of(word)
        if group and not (override := parser.parse_overrides([word])[0]).is_sweep_override():
            _check_option(group, word, override.value())
            # Hydra takes no null, and nothing beside a word that takes the option away. The last word decides.
            is_null = override.value() is None
            translated = [w for w in translated if w != f"~{group}" and not (is_null and _group_of(w) == group)]
            if is_null:
                word = f"{group}=[]" if group in MULTI_OPTION_GROUPS else f"~{group}"
        translated.append(word)
    return translated


def _quote(word: str) -> str:
    """The word with quotes around its value if Hydra would not read it, or read a number where a text is wanted."""
    key, _, value = word.partition("=")
    is_number = key.lstrip("+") in TEXTS and NUMBER.match(value)
    if word.startswith("-") or HYDRA_SYNTAX.search(value) or not (is_number or UNREADABLE.search(value)):
        return word
    values = ",".join(f"'{each}'" for each in value.split(","))
    return f"{key}={values}"


def _group_of(word: str) -> str | None:
    """The group whose option an override chooses; None if it sets something else."""
    group, equals, _ = word.lstrip("+").partition("=")
    return group if equals and group in GROUPS else None


def _check_option(group: str, word: str, value: object) -> None:
    """Raises: UserError if the value is not an option, nor a list of options where a run may have several."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        if group not in MULTI_OPTION_GROUPS:
            meant = f"-m {group}={','.join(value)} makes one of each" if value[1:] else _choose(group)
            raise UserError(f"{word}: a run has one {group}; {meant}")
    elif isinstance(value, dict):
        raise UserError(f"{word}: give the keys one by one, such as {group}.<key>=<value>")
    elif not isinstance(value, str) and (value is not None or group not in OPTIONAL_GROUPS):
        raise UserError(f"{word}: {_choose(group)}")
    if word.startswith("+") and group not in MULTI_OPTION_GROUPS:
        raise UserError(f"{word}: leave out the +, since a run has one {group}")


def check_composed(config: DictConfig, *, further_keys: Sequence[str] = ()) -> None:
    """Expand `~` in paths. Raises: UserError if a group has no option, or a key that nothing reads is set.

    further_keys: keys that the command reads beside those of a run
    """
    known = config_keys()
    for key in config:
        if key not in (*known, *GROUPS, *further_keys, "hydra"):
            raise UserError(explain_unknown_key(str(key)))
    for key in known:
        if key not in config:
            raise UserError(f"~{key}: every run has {key}: set it instead")
    for key in config.table or {}:
        if key not in known["table"]:
            raise UserError(explain_unknown_key(f"table.{key}"))
    for group in GROUPS:
        _check_group(config, group)
    _check_against(config)
    for key in TEXTS:
        if type(value := OmegaConf.select(config, key)) is int:  # in a YAML
            OmegaConf.update(config, key, str(value))
    for key in PATHS:
        _expand(config, key)


def _check_against(config: DictConfig) -> None:
    """A single split counts as a list of one. Raises: UserError unless it is a list of one or two splits."""
    value = config.measure_against
    splits = [value] if isinstance(value, str) else list(value or [])
    if not splits or not {*splits} <= {*SPLITS}:
        raise UserError(f"measure_against={value}: choose some of {', '.join(SPLITS)}")
    config.measure_against = list(dict.fromkeys(splits))


def _check_group(config: DictConfig, group: str) -> None:
    node, choice = config.get(group), config.hydra.runtime.choices.get(group)
    if node is None and group not in OPTIONAL_GROUPS:
        raise UserError(f"{group} is missing; {_choose(group)}")
    if node is None:
        return
    if group in PRESET_GROUPS:
        raise UserError(f"{group}={choice}: its YAML must begin with the line `# @package _global_`")
    if group in MULTI_OPTION_GROUPS:
        for name, option in node.items():
            _check_class(f"{group}.{name}", option, group)
    elif choice is None:  # a list in a YAML
        raise UserError(f"{group}: a run has one {group}; {_choose(group)}")
    else:
        _check_class(group, node, group)


def _check_class(name: str, node: object, group: str) -> None:
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{name} has no class (`_target_`): name one in its YAML, or {_choose(group)}")


def _expand(config: DictConfig, key: str) -> None:
    """Put the user's home folder in place of `~`. Raises: UserError if the system knows none."""
    path = OmegaConf.select(config, key)
    if not isinstance(path, str) or not path.startswith("~"):
        return
    expanded = os.path.expanduser(path)
    if expanded == path:
        raise UserError(f"{key}={path}: the system knows no such home folder; give the whole path")
    OmegaConf.update(config, key, expanded)


def _choose(group: str) -> str:
    number = "some" if group in MULTI_OPTION_GROUPS else "one"
    return f"choose {number} of {', '.join(path.stem for path in option_files(group))}"
