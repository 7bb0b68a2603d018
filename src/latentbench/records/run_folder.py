"""The files of a run's folder, and the config among them, from which the run can be built again.

config.yaml        the resolved config; `choices`: the option of every group; `resolved`: facts of the data
model.safetensors  the trained weights, which are measured
last.safetensors   the weights after the last step, if others are measured (trainer.ema, trainer.keep=best)
last.ckpt          the state of the training, from which an interrupted or a longer one goes on
record.json        what was measured: latentbench.records.record
images.npz         images and latents for figures
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.identity import LATER
from latentbench.errors import UserError
from latentbench.records.record import write_atomically
from latentbench.records.schema_3 import name_features

CONFIG_NAME = "config.yaml"
LAST_WEIGHTS_NAME = "last.safetensors"
IMAGES_NAME = "images.npz"
REQUIRED_KEYS = (
    "model", "backbone", "prior", "data", "latent_size", "seed", "trainer", "choices", "resolved.shape",
    "resolved.train_images",
)  # fmt: skip


def save_config(run_dir: Path, content: dict[str, Any]) -> None:
    write_atomically(run_dir / CONFIG_NAME, OmegaConf.to_yaml(OmegaConf.create(content)).encode())


def load_config(run_dir: Path) -> DictConfig:
    """The config of a stored run. Raises: UserError if the folder is not a run's, or its config cannot be used."""
    path = run_dir / CONFIG_NAME
    if not path.is_file():
        raise UserError(f"{run_dir} is not the folder of a trained run: it has no {CONFIG_NAME}")
    try:
        config = OmegaConf.load(path)
    except Exception as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    missing = [key for key in REQUIRED_KEYS if not OmegaConf.is_dict(config) or OmegaConf.select(config, key) is None]
    if missing or not isinstance(config, DictConfig):
        raise UserError(f"{path} is not the config of a run of this version: it has no {', '.join(missing)}")
    name_features(config.choices, config)
    if str(OmegaConf.select(config, "data._target_")).startswith("latentbench.") and "flip" not in config.data:
        config.data.flip = LATER["data.flip"]  # a setting that came later
    return config


def save_images(run_dir: Path, images: Mapping[str, NDArray[Any]]) -> None:
    """Write the images of every set, and the arrays for plots of the latents."""
    archive = io.BytesIO()
    # The type stubs mistake the keys for options of savez_compressed.
    np.savez_compressed(archive, **images)  # type: ignore[arg-type]
    write_atomically(run_dir / IMAGES_NAME, archive.getvalue())


def load_images(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `images.npz`; empty if the file is missing or damaged."""
    try:
        # Opened here, since numpy leaves a damaged archive open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}
