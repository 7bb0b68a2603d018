"""The composed config of one run."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from latentbench.configuration.catalogue import CONF_DIR


def compose_config(overrides: list[str]) -> DictConfig:
    """The config that `latentbench <overrides>` runs, with Hydra's own part under `hydra`."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", overrides=overrides, return_hydra_config=True)
