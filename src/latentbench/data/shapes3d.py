"""3D Shapes, in a file of HDF5."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from latentbench.data.large_published import LargePublishedImages, Rows
from latentbench.data.splitting import three_parts
from latentbench.errors import UserError

CHUNK = 5_000  # images


class Shapes3d(LargePublishedImages):
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

    def rows(self, paths: Mapping[str, Path]) -> Rows:
        """Raises: UserError if h5py is not installed."""
        with _opened(paths) as file:
            values = file["labels"][:]  # (N, 6), numbers such as angles
        ranks = [np.unique(column, return_inverse=True)[1] for column in values.T]
        factors = torch.from_numpy(np.stack(ranks, axis=1).astype(np.int64))
        shape = factors[:, self.factor_names.index("shape")]
        return Rows(three_parts(shape), shape, factors)

    def decoded(self, paths: Mapping[str, Path]) -> Iterator[np.ndarray]:
        """Images (B, 3, 64, 64); the file has (N, 64, 64, 3)."""
        with _opened(paths) as file:
            array = file["images"]
            for start in range(0, len(array), CHUNK):
                yield array[start : start + CHUNK].transpose(0, 3, 1, 2)


def _opened(paths: Mapping[str, Path]) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError("data=shapes3d needs h5py: pip install 'latentbench[shapes3d]'") from error
    (path,) = paths.values()
    return h5py.File(path, "r")
