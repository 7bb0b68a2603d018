"""Small folders and arrays of images, written by the test."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentbench.contracts.options import part_of
from latentbench.data.base import ImageData

SMALL = {"seed": 0, "batch_size": 4}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str = "png", **options: Any) -> bytes:
    """The bytes of an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def some_files(prefix: str = "", n: int = 30, side: int = 8, first: int = 0) -> dict[str, bytes]:
    """PNG files of colour noise, each of its own."""
    return {f"{prefix}{i:03}.png": encoded(noise(side, side, 3, seed=first + i)) for i in range(n)}


def npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def folder_data(root: Path, **settings: Any) -> ImageData:
    data: ImageData = part_of("data", "folder", root=str(root), **(SMALL | settings))
    return data


def arrays_data(root: Path, **settings: Any) -> ImageData:
    data: ImageData = part_of("data", "arrays", root=str(root), **(SMALL | settings))
    return data
