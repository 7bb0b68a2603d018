"""Published sets of more images than should lie in memory: decoded once into the cache."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentbench.data.base import Split, Splits
from latentbench.data.image_cache import ImageWriter, cache_key, cached_images
from latentbench.data.published import PublishedImages


class Rows(NamedTuple):
    """What is known of all images of the files, in their order there."""

    of_splits: Mapping[Split, np.ndarray]  # numbers of the images of each split
    labels: Tensor  # int64 (N,)
    factors: Tensor | None = None  # int64 (N, K), as in `Splits`


class LargePublishedImages(PublishedImages, ABC):
    """A published set whose images are decoded once into a file of the user's cache, from which batches are cut.

    The cached file belongs to the checksums of the official files, which are checked when it is written.
    """

    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Open the decoded images, or decode them. Raises: UserError if a file is not the published one."""
        key = cache_key(type(self).__name__, self.checksums, self.settings())
        images, facts = cached_images(key, functools.partial(self._write, paths))
        return Splits(
            images=images,
            labels={split: torch.tensor(facts["labels"][split]) for split in images},
            factors={split: torch.tensor(rows) for split, rows in facts["factors"].items()},
        )

    def settings(self) -> dict[str, Any]:
        """The settings that decide which pixels the images have."""
        return {}

    @abstractmethod
    def rows(self, paths: Mapping[str, Path]) -> Rows:
        """The splits, the labels, and the factors where they are known."""

    @abstractmethod
    def decoded(self, paths: Mapping[str, Path]) -> Iterator[np.ndarray]:
        """All images in their order, uint8 (B, C, H, W), some at a time."""

    def _write(self, paths: Mapping[str, Path], folder: Path) -> dict[str, Any]:
        for name, path in paths.items():
            self.check(path, name)
        of_splits, labels, factors = self.rows(paths)
        writer = ImageWriter(folder, len(labels))
        try:
            with tqdm(total=len(labels), desc="decoding images", unit="image", disable=None) as bar:
                for chunk in self.decoded(paths):
                    for image in chunk:
                        writer.append(image)
                    bar.update(len(chunk))
            assert writer.shape is not None
            assert writer.written == len(labels)
            numbers = {split: chosen.tolist() for split, chosen in of_splits.items()}
            ordered = writer.finish(numbers, channels=writer.shape[0])
        finally:
            writer.close()
        return {
            "shape": writer.shape,
            "sizes": {split: len(chosen) for split, chosen in ordered.items()},
            "labels": {split: labels[chosen].tolist() for split, chosen in ordered.items()},
            "factors": {} if factors is None else {split: factors[rows].tolist() for split, rows in ordered.items()},
        }
