"""Error messages for an invalid command: the errors of Hydra and OmegaConf, reworded in one line."""

import difflib
import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigTypeError
from yaml import YAMLError

from latentbench.configuration.catalogue import (
    GROUPS,
    MULTI_OPTION_GROUPS,
    config_keys,
    explain_yaml,
    no_such_option,
    option_file,
    option_files,
    read_option,
)
from latentbench.errors import UserError


def explain(error: Exception) -> str:
    """One line that says what is wrong and how to correct it."""
    cause: BaseException = error
    while not isinstance(cause, MissingConfigException) and isinstance(cause.__cause__, MissingConfigException):
        cause = cause.__cause__
    if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
        group, _, option = str(cause.missing_cfg_file).rpartition("/")
        return no_such_option(group, option)
    if isinstance(cause, OverrideParseException):
        key, _, value = cause.override.partition("=")
        if "LexerNoViableAlt" in str(cause):
            return f"{cause.override}: this needs quotes of its own inside those of the shell: \"{key}='{value}'\""
        for pair in ("[]", "{}"):
            if value.count(pair[0]) != value.count(pair[1]):
                return f"{cause.override}: '{pair[0]}' and '{pair[1]}' come in pairs, as in {key}={pair[0]}...{pair[1]}"
    _, is_merged, override = str(cause).partition("Error merging override ")
    if is_merged and isinstance(cause.__cause__, ConfigTypeError):
        key = override.partition("=")[0]
        if cause.__cause__.object_type is list:
            return f"{override}: give a list, {key}=[...]"
        return f"{override}: give each of its keys, {key}.<name>=..."
    if isinstance(cause, YAMLError):
        return explain_yaml(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    unknown_key = re.match(r"Could not override '([\w./@]+)'", lines[0] if lines else "")
    if unknown_key:
        try:
            return explain_unknown_key(unknown_key[1])
        except UserError as another:  # an option whose keys it would tell cannot be read
            return str(another)
    return " ".join(lines) or type(cause).__name__


def explain_unknown_key(path: str) -> str:
    """The message for an unknown key, such as `metric.nll.samples`, with the key that was probably meant."""
    parent, _, key = path.rpartition(".")
    group, _, option = parent.partition(".")
    known = [*GROUPS, *config_keys()]
    if parent in GROUPS:
        keys_of = {file.stem: [str(key) for key in read_option(file)] for file in option_files(parent)}
        known = sorted({key for keys in keys_of.values() for key in keys})
        if key in known:
            options = " or ".join(option for option, keys in keys_of.items() if key in keys)
            return f"{path}: the chosen {parent} has no such key; {parent}={options} has it"
    elif group in MULTI_OPTION_GROUPS and (file := option_file(group, option)):
        known = [str(name) for name in read_option(file)[option]]
        if key in known:
            return f"{path}: {option} is not chosen; add it to {group}=[...]"
    elif parent and OmegaConf.is_dict(node := OmegaConf.select(OmegaConf.create(config_keys()), parent)):
        known = [str(name) for name in node]  # such as table.figures
        if key in known:
            return f"{path} has no such key yet; add one by +{path}.<name>=..."
    names = ", ".join(name for name in known if name not in ("_target_", "defaults")) or "none"
    similar = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {'.'.join(filter(None, [parent, similar[0]]))}?" if similar else f"the keys are: {names}"
    return f"{path}: there is no such key; {hint}"
