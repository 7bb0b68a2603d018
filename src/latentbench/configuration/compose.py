"""Composes configs with Hydra, from latentbench's own options and those of other packages and folders."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from latentbench.configuration.catalogue import CONF_DIR
from latentbench.configuration.folders import SEARCH_PATH, further_folders
from latentbench.configuration.overrides import check_composed, translate

READER_KEYS = ("from", "publish", "to")  # what the commands that read records have beside the keys of a run


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that `latentbench <overrides>` runs, with Hydra's own part under `hydra`."""
    with hydra_started():
        return compose_started(overrides, further_keys=READER_KEYS)


def hydra_started() -> AbstractContextManager[None]:
    """A context in which Hydra has read the folder of options."""
    context: AbstractContextManager[None] = initialize_config_dir(str(CONF_DIR), version_base="1.3")
    return context


def compose_started(overrides: Sequence[str], *, further_keys: Sequence[str] = ()) -> DictConfig:
    """As compose_config, within `hydra_started`: several configs share its cost. Raises: as `check_composed`."""
    config = compose("config", overrides=[*search_path(), *translate(overrides)], return_hydra_config=True)
    check_composed(config, further_keys=further_keys)
    return config


def search_path() -> list[str]:
    """The override with which Hydra finds the options of other packages and folders, if there are any."""
    folders = ["'file://" + str(folder).replace("'", r"\'") + "'" for folder in further_folders()]
    return [f"{SEARCH_PATH}[{','.join(folders)}]"] if folders else []
