"""The command that trains and measures a recorded run."""

import dataclasses
import json
import re
import shlex
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentbench.cli.jobs import compose_jobs
from latentbench.configuration.catalogue import GROUPS, MULTI_OPTION_GROUPS
from latentbench.configuration.settings import Settings, is_of_measuring, settings
from latentbench.errors import UserError
from latentbench.records.measuring import AGAINST, settings_of
from latentbench.records.record import Record
from latentbench.running.job import resolve


def command_of(record: Record) -> str | None:
    """The command as typed in a shell; None if no options that are installed here give the run's id and settings."""
    try:
        words = _words(record)
        run_id, found = _composed(record, words)
    except (UserError, HydraException, OmegaConfBaseException, KeyError):  # an option of somebody else
        return None
    if run_id != record.run_id or found != _settings(record):
        return None
    return shlex.join(["latentbench", *_overrides(words)])


def overrides_of(record: Record) -> list[str]:
    """The overrides that give the run's settings today, whatever its id is now; other settings have their defaults.

    Raises: UserError, and what Hydra raises, if a setting is not there any more or cannot have this value.
    """
    words = _words(record)
    _, found = _composed(record, words)
    for key, value in _settings(record).items():
        if key not in found or _differs(key, {key: value}, found):
            now = f"{key}={found[key]}" if key in found else f"there is no {key}"
            raise UserError(f"{record.run_id} was trained with {key}={value}; today {now}")
    return _overrides(words)


def _words(record: Record) -> Settings:
    """The settings to name in the command, since they are not what method and data give."""
    wanted = _settings(record)
    words: Settings = {key: record.choices[key] for key in ("method", "data")}
    # Options, the trial and single values first, since other settings follow from them.
    for keys in ([*GROUPS], ["trial"], [key for key in wanted if "." not in key], [*wanted]):
        _, found = _composed(record, words)
        words |= {key: wanted[key] for key in keys if _differs(key, wanted, found)}
    return words


def _differs(key: str, wanted: Settings, found: Settings) -> bool:
    # In settings a run without a method has a name of its parts in place of it.
    return key != "method" and key in wanted and found.get(key) != wanted[key]


def _settings(record: Record) -> Settings:
    """The settings that can change a result; those of measuring only if the run is measured."""
    values = settings(record.choices, record.config) | {group: record.choices[group] for group in MULTI_OPTION_GROUPS}
    values[AGAINST] = settings_of(record.config)[AGAINST]
    return {key: value for key, value in values.items() if record.status == "finished" or not is_of_measuring(key)}


def _composed(record: Record, words: Settings) -> tuple[str, Settings]:
    """The id and the settings of the run of a command."""
    (job,) = compose_jobs(_overrides(words))
    run = resolve(job)
    config: Settings = OmegaConf.to_container(run.config, resolve=True)  # type: ignore[assignment]
    return run.folder.name, _settings(dataclasses.replace(record, choices=run.choices, config=config))


def _overrides(words: Settings) -> list[str]:
    return [f"{key}={_value(value)}" for key, value in words.items()]


def _value(value: Any) -> str:
    """A value in Hydra's grammar. In `settings`, lists that are no options are JSON already."""
    if isinstance(value, list):
        return f"[{','.join(value)}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*|\[.*\]", value):
        return value
    return json.dumps(value)
