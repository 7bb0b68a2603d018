"""What a method's paper minimized, as the method's YAML tells it under `published`, and whether a run does the same."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import option_file, preset, read_option


def weight_of_another_likelihood(config: DictConfig, chosen: Mapping[str, Any]) -> str | None:
    """That `beta` is the paper's and the likelihood is not, in words; None if both are, or `beta` is not.

    chosen: the option of every group
    """
    meant = OmegaConf.select(config, "published.likelihood")
    if meant is None or config.beta != preset(chosen["method"]).get("beta"):
        return None
    path = option_file("likelihood", meant)
    if path and config.likelihood == read_option(path):
        return None
    here = [str(chosen["likelihood"])] + [f"{k}={v}" for k, v in config.likelihood.items() if k != "_target_"]
    return f"weight of another likelihood: published beside likelihood={meant}, here beside {', '.join(here)}"
