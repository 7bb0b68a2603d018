"""dSprites, in an archive of NumPy."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from latentbench.data.arrays import read_header
from latentbench.data.large_published import LargePublishedImages, Rows
from latentbench.data.splitting import three_parts

CHUNK = 10_000  # images


class DSprites(LargePublishedImages):
    """All 737,280 white sprites on black, 64x64 pixels, split 442,368 / 147,456 / 147,456, stratified by shape.

    There is no official split. Every combination of 3 shapes, 6 scales, 40 orientations and 32 x 32 positions is there
    once. The label of an image is its shape. The colour of the files, always white, is left out. Of the archive, the
    arrays of images and of factors are read, and never the pickled description.
    Source: Matthey et al. 2017, dSprites: disentanglement testing sprites dataset.
    """

    factor_names: ClassVar[tuple[str, ...]] = ("shape", "scale", "orientation", "x", "y")

    def rows(self, paths: Mapping[str, Path]) -> Rows:
        (path,) = paths.values()
        with np.load(path, allow_pickle=False) as arrays:
            factors = torch.from_numpy(arrays["latents_classes"][:, 1:].copy())  # the first is the colour
        return Rows(three_parts(factors[:, 0]), factors[:, 0], factors)

    def decoded(self, paths: Mapping[str, Path]) -> Iterator[np.ndarray]:
        """Images (B, 1, 64, 64) of 0 and 255; the file has (N, 64, 64) of 0 and 1."""
        (path,) = paths.values()
        with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
            n, *size = read_header(file, "imgs.npy").shape
            for start in range(0, n, CHUNK):
                count = min(CHUNK, n - start)
                pixels = np.frombuffer(file.read(count * int(np.prod(size))), np.uint8)
                yield pixels.reshape(count, 1, *size) * np.uint8(255)
