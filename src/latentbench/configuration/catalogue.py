"""The groups of options and their YAMLs: where they are and what they say. Takes no package but OmegaConf."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

PACKAGE = Path(__file__).parents[1]
# In a wheel conf/ lies inside the package, in a checkout at its root.
CONF_DIR = next(folder for folder in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if folder.is_dir())

# What a model is made of; a model's constructor says which of them it takes.
PARTS = ("backbone", "posterior", "prior", "regularizer", "likelihood", "objective", "annealing")
# What a run is trained with, in the order in which it is named.
TRAINED_WITH = ("method", "data", "model", *PARTS)
GROUPS = (*TRAINED_WITH, "sampler", "features", "metric", "trainer", "logger", "launcher", "sweep")
LISTED = ("sampler", "metric")  # groups of which a run has several options
SCALARS = ("seed", "beta", "latent_size", "study", "output_dir", "force")


def option_files(group: str) -> list[Path]:
    """The YAMLs of a group, by name."""
    return sorted((CONF_DIR / group).glob("*.yaml"))


def sentence(path: Path) -> str:
    """What an option is: the first comment of its YAML that is not a directive to Hydra."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @"):
            return line.removeprefix("# ")
    return ""


def preset(method: str) -> dict[str, Any]:
    """The parts and the beta that a method's YAML stands for; empty for a method that is not there."""
    path = CONF_DIR / "method" / f"{method}.yaml"
    if not path.is_file():
        return {}
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    parts = {str(key).rpartition("/")[2]: option for entry in content.defaults for key, option in entry.items()}
    found = {"model": "autoencoder", "objective": "elbo", "annealing": "constant", "beta": content.get("beta", 1.0)}
    found |= parts
    return {key: found[key] for key in ("model", *PARTS, "beta") if key in found}
