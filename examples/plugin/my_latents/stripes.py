"""Images of stripes."""

import math
from typing import get_args

import torch
from torch import Tensor

from latentbench.data.base import ImageData, Split, Splits

SIZES: dict[Split, int] = dict(zip(get_args(Split), (400, 200, 200), strict=True))


class Stripes(ImageData):
    """Stripes of 8x8 pixels in four directions, which are the labels, split 400 / 200 / 200."""

    def __init__(self, *, binarize: str, batch_size: int, seed: int) -> None:
        super().__init__(name="stripes", binarize=binarize, batch_size=batch_size, seed=seed)

    def load(self) -> Splits:
        random = torch.Generator().manual_seed(0)  # the same images whatever the seed of the run
        labels = {split: torch.arange(size) % 4 for split, size in SIZES.items()}
        return Splits({split: stripes(label, random) for split, label in labels.items()}, labels)


def stripes(direction: Tensor, random: torch.Generator) -> Tensor:
    """An image (1, 8, 8) for each direction (N,), in eighths of a turn; width and place of the stripes are random."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    angle = (direction * math.pi / 4)[:, None, None]
    width, place = torch.rand(2, len(direction), 1, 1, generator=random)
    waves = torch.sin((x * angle.cos() + y * angle.sin()) * (0.5 + width) + 2 * math.pi * place)
    return (255 * (waves + 1) / 2).round().byte()[:, None]
