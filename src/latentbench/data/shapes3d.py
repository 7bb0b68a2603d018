"""3D Shapes, in a file of HDF5."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from latentbench.data.base import Splits
from latentbench.data.published import PublishedImages, check_file
from latentbench.data.splitting import gather, three_parts
from latentbench.errors import UserError

CHUNK = 5_000  # images


class Shapes3d(PublishedImages):
    """All 480,000 images of a shape in a room, 64x64 pixels, split 288,000 / 96,000 / 96,000, stratified by shape.

    There is no official split. Every combination of 10 hues of the floor, of the wall and of the object, 8 scales, 4
    shapes and 15 orientations is there once. The label of an image is its shape.
    Source: Burgess & Kim 2018, 3D Shapes dataset.
    """

    factor_names: ClassVar[tuple[str, ...]] = (
        "floor_hue",
        "wall_hue",
        "object_hue",
        "scale",
        "shape",
        "orientation",
    )

    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Read the splits. Raises: UserError if the file is not the published one, or h5py is not installed."""
        (name, path), *_ = paths.items()
        return _read(path, self.checksums[name])


@functools.lru_cache(maxsize=1)  # the runs of a sweep in one process read their data once
def _read(path: Path, checksum: str) -> Splits:
    try:
        import h5py
    except ImportError as error:
        raise UserError("data=shapes3d needs h5py: pip install 'latentbench[shapes3d]'") from error
    check_file(path, checksum)
    with h5py.File(path, "r") as file:
        values = file["labels"][:]  # (N, 6), numbers such as angles
        ranks = [np.unique(column, return_inverse=True)[1] for column in values.T]
        factors = torch.from_numpy(np.stack(ranks, axis=1).astype(np.int64))
        shape = factors[:, 4]
        indices = three_parts(shape)
        return Splits(
            images=gather(indices, _images(file["images"])),
            labels={split: shape[chosen] for split, chosen in indices.items()},
            factors={split: factors[chosen] for split, chosen in indices.items()},
        )


def _images(array: Any) -> Iterator[np.ndarray]:
    """Chunks of images (B, 3, 64, 64); the file has (N, 64, 64, 3)."""
    for start in range(0, len(array), CHUNK):
        yield array[start : start + CHUNK].transpose(0, 3, 1, 2)
