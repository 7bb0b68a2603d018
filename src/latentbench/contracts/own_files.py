"""Images as a user may have them, for the contracts of data sets that read such files."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from latentbench.data.digits import Digits
from latentbench.records.outside import CHECKSUMS, keys_of

IMAGES = 600


def reads_own_files(node: DictConfig) -> bool:
    """Whether a data set reads what a user has at its root, which no checksum in its settings knows."""
    settings: Any = OmegaConf.to_container(node)
    return settings.get("root", "") is None and not CHECKSUMS & set(keys_of(settings))


@functools.cache
def own_files() -> tuple[Path, ...]:
    """Some digits in the forms in which a user may have images: files in folders of classes, and arrays."""
    folder = Path(tempfile.mkdtemp(prefix="latentbench-contracts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    splits = Digits(binarize="none", flip=False, batch_size=1, seed=0).load()
    images, labels = (tensors["train"][:IMAGES].numpy() for tensors in (splits.images, splits.labels))
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "files" / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    np.savez(folder / "arrays.npz", images=images, labels=labels)
    return folder / "files", folder / "arrays.npz"
