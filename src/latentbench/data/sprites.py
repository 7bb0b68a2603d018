"""Sprites: images made from factors that are known."""

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from latentbench.data.base import ImageData, Split, Splits
from latentbench.errors import UserError, check_whole_number

SIDE = 0.3  # of the square at scale 1, in widths of the image
SMALLEST = 0.5  # scale
MARGIN = 0.25  # from the border to the outermost centres: more than the largest shape reaches
TURN = math.pi / 2  # the orientations' range
CELLS = 8  # a pixel's width, in cells of the canvas that a shape is painted on
HELD_OUT = 0.2  # of all images, for validation and for testing each


class Sprites(ImageData):
    """A square, an ellipse or a heart, white on black; every combination of shape, scale, orientation, x and y once.

    By default 25,920 images of 32x32, split 15,552 / 5,184 / 5,184, stratified by shape, the labels; the same for
    every seed of a run. Scales lie evenly from 1/2 to 1 and centres (the shapes' centroids) from a quarter to three
    quarters of the width, so that no shape is cut; orientations lie evenly in [0, 90) degrees, anticlockwise. Shapes
    of one scale have one area. A pixel's grey value is the part of it that the shape covers.
    Made after dSprites (Matthey et al. 2017), which has 3 x 6 x 40 x 32 x 32 black and white images of 64x64. There
    every shape takes 40 orientations of a full turn, its first and last being one: four of a square and two of an
    ellipse look alike, and no code of an image can tell which it was. Within a quarter turn each image has one
    orientation, and it is the same angle for every shape, so that a perfect score can be had. What remains: a square
    turned by nearly 90 degrees is close to one that is not turned, so that a continuous code cannot follow squares.
    Raises: UserError if a setting makes no sense, or so many values are asked for that two images are alike.
    """

    factor_names: ClassVar[tuple[str, ...]] = ("shape", "scale", "orientation", "x", "y")

    def __init__(
        self,
        *,
        name: str,
        size: int,
        scales: int,
        orientations: int,
        positions: int,
        binarize: str,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name=name, binarize=binarize, batch_size=batch_size, seed=seed)
        self.width = check_whole_number("data.size", size, minimum=8)
        self.scales = check_whole_number("data.scales", scales, minimum=2)
        self.orientations = check_whole_number("data.orientations", orientations, minimum=2)
        self.positions = check_whole_number("data.positions", positions, minimum=2)

    def load(self) -> Splits:
        """The splits. Raises: UserError if two images are alike."""
        return _load(self.width, self.scales, self.orientations, self.positions)


@functools.lru_cache(maxsize=1)  # a sweep's runs in one process make their images once
def _load(size: int, scales: int, orientations: int, positions: int) -> Splits:
    factors = torch.cartesian_prod(
        *(torch.arange(n) for n in (len(SHAPES), scales, orientations, positions, positions))
    )
    images = paint(size, scales, orientations, positions)
    if len({image.tobytes() for image in images.numpy()}) < len(images):
        raise UserError(
            f"data.size={size} is too small to tell {scales} scales, {orientations} orientations and {positions} "
            "positions apart: ask for fewer of them or for larger images"
        )
    shape = factors[:, 0]
    n = round(HELD_OUT * len(images))
    rest, test = train_test_split(np.arange(len(images)), test_size=n, stratify=shape, random_state=0)
    train, validation = train_test_split(rest, test_size=n, stratify=shape[rest], random_state=0)
    chosen: dict[Split, np.ndarray] = {"train": train, "validation": validation, "test": test}
    return Splits(
        images={split: images[indices] for split, indices in chosen.items()},
        labels={split: shape[indices] for split, indices in chosen.items()},
        factors={split: factors[indices] for split, indices in chosen.items()},
    )


def paint(size: int, scales: int, orientations: int, positions: int) -> Tensor:
    """Every image, uint8 (N, 1, size, size), in the order of the factors' values, the last one's changing fastest.

    A shape is painted once for all positions, on a canvas of cells smaller than pixels; a pixel is the mean of what it
    covers of the canvas, wherever the canvas lies.
    """
    cells = math.ceil(2 * MARGIN * size * CELLS)
    cell = 2 * MARGIN / cells
    along = (torch.arange(cells, dtype=torch.float64) + 0.5) * cell - MARGIN
    down, right = torch.meshgrid(along, along, indexing="ij")
    centres = torch.linspace(MARGIN, 1 - MARGIN, positions, dtype=torch.float64)
    start = torch.arange(size, dtype=torch.float64)[:, None] / size
    left = centres[:, None, None] + along - cell / 2
    overlap = torch.minimum(start + 1 / size, left + cell) - torch.maximum(start, left)
    covered = (overlap.clamp(min=0) * size).flatten(0, 1).float()  # part of each pixel, (positions * size, cells)
    images = torch.empty(len(SHAPES), scales, orientations, positions, positions, size, size, dtype=torch.uint8)
    for shape, signed_distance in enumerate(SHAPES):
        for i, scale in enumerate(torch.linspace(SMALLEST, 1, scales).tolist()):
            for j, angle in enumerate((torch.arange(orientations) * TURN / orientations).tolist()):
                # Rows count downwards and angles go against the clock, so this turns the picture by `angle`.
                u = (right * math.cos(angle) - down * math.sin(angle)) / (SIDE * scale)
                v = (right * math.sin(angle) + down * math.cos(angle)) / (SIDE * scale)
                canvas = (0.5 - signed_distance(u, v) * (SIDE * scale / cell)).clamp(0, 1).float()
                grey = (covered @ canvas @ covered.T).reshape(positions, size, positions, size)
                images[shape, i, j] = (grey.permute(2, 0, 1, 3) * 255).round().byte()
    return images.reshape(-1, 1, size, size)


def square(u: Tensor, v: Tensor) -> Tensor:
    """Distance to the border of the square of area 1 around 0, negative inside."""
    return torch.maximum(u.abs(), v.abs()) - 0.5


def ellipse(u: Tensor, v: Tensor) -> Tensor:
    """The same to first order of an ellipse of area 1, twice as long as wide, lying: q / |grad q|, q = 0 its border."""
    b = 1 / math.sqrt(2 * math.pi)
    a = 2 * b
    r = torch.hypot(u / a, v / b)
    return (r - 1) * r / torch.hypot(u / a**2, v / b**2)


def heart(u: Tensor, v: Tensor) -> Tensor:
    """The same of a heart of area 1, upright, its centroid at 0.

    A square that stands on a corner, and on each of its two upper sides a disc with that side as its diameter.
    """
    side = 1 / math.sqrt(1 + math.pi / 4)
    # Each half disc lies half a side and 4 r / 3 pi from the square's centre, and has area pi r^2 / 2, r = side / 2.
    offset = side**3 * math.pi / 8 * (1 / 2 + 2 / (3 * math.pi))
    p, q = (u - v) / math.sqrt(2) + offset, (-u - v) / math.sqrt(2) + offset  # along the upper sides' normals
    r = side / 2
    body = torch.maximum(p.abs(), q.abs()) - r
    return torch.minimum(body, torch.minimum(torch.hypot(p - r, q), torch.hypot(p, q - r)) - r)


SHAPES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (square, ellipse, heart)
