"""The classifiers whose features metrics compare: shipped ones, those of the user, and which one `features=auto` means.

    features=auto    the shipped classifier of the data set, else the newest that `latentbench-features` trained for
                     these data and their settings, else random convolutions. What it is, is decided before a run is
                     measured: settings and records name it.

Imports no torch, so that commands start quickly.
"""

import hashlib
import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import PACKAGE, option_node
from latentbench.records.keys import CLASSIFIER
from latentbench.records.outside import outside_digests
from latentbench.records.record import write_atomically

AUTO = "auto"  # value of features.classifier.weights
STAND_IN = "random"  # the features where there is no classifier
SHIPPED = PACKAGE / "features" / "weights"
SUFFIX = ".safetensors"
WITHOUT_EFFECT = ("name", "flip", "batch_size", "mirrors")  # settings of data that change no image


def weights_file(name: str) -> Path | None:
    """The file of a classifier's weights, shipped or of the user; None if there is none."""
    folders = [SHIPPED, *([own] if (own := folder()) else [])]
    return next((path for folder in folders if (path := folder / f"{name}{SUFFIX}").is_file()), None)


def is_shipped(name: str) -> bool:
    """Whether the package has a classifier of this name."""
    return (SHIPPED / f"{name}{SUFFIX}").is_file()


def name_of(config: DictConfig, option: str) -> str:
    """The name of the config's data."""
    return str(config.data.get("name", option))


def folder() -> Path | None:
    """The folder of the user's classifiers; None if the system knows no home folder."""
    from latentbench.records.user_cache import user_cache  # not at the top: most commands do not need pooch

    cache = user_cache()
    return cache / "classifiers" if cache else None


def choose_classifier(config: DictConfig, option: str) -> None:
    """Put the features that `features=auto`, or a classifier without a name, means for the config's data in its place.

    Other features of the config that are the same are dropped: their numbers would be repeated under another key.
    option: that of `data`, the name of data sets that have no setting for it
    """
    features = config.get("features") or {}
    weights = (features.get(CLASSIFIER) or {}).get("weights", STAND_IN)
    is_shipped_one = is_shipped(name_of(config, option))
    if weights not in (AUTO, None) or (weights is None and is_shipped_one):
        return
    if is_shipped_one:
        chosen = {**features[CLASSIFIER], "weights": None}
    elif trained := _trained_for(config, option):
        chosen = {**features[CLASSIFIER], "weights": trained[-1].stem}
    elif weights is None:
        return  # there is none, which is refused when it is built
    else:
        chosen = {**option_node("features", STAND_IN)}
    config.features = {name: node for name, node in features.items() if node != chosen} | {CLASSIFIER: chosen}


def _trained_for(config: DictConfig, option: str) -> list[Path]:
    """The user's classifiers for the config's data, the newest last."""
    own = folder()
    found = own.glob(f"*{SUFFIX}") if own else []
    beginning = f"{name_of(config, option)}-{data_digest(config)}-"
    return sorted((path for path in found if path.name.startswith(beginning)), key=lambda path: path.stat().st_mtime)


def data_digest(config: DictConfig) -> str:
    """Eight letters that differ between data of different images: of the settings, and of the content of own files."""
    content = outside_digests(config, ["data"]).get("data", "")
    left_out = (*WITHOUT_EFFECT, *(["root"] if content else []))
    settings = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(settings, dict)
    kept = {str(key): value for key, value in settings.items() if key not in left_out}
    return hashlib.sha256(json.dumps([kept, content], sort_keys=True).encode()).hexdigest()[:8]


def keep(weights: bytes, own: Path, config: DictConfig, option: str) -> Path:
    """Write a classifier for the config's data into a folder. Its name has a digest of the data and one of itself."""
    name = f"{name_of(config, option)}-{data_digest(config)}-{hashlib.sha256(weights).hexdigest()[:8]}"
    write_atomically(own / f"{name}{SUFFIX}", weights)
    return own / f"{name}{SUFFIX}"
