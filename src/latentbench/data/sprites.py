"""Sprites: rendered images with known factors of variation."""

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.data.base import ImageData, Splits
from latentbench.data.splitting import three_parts
from latentbench.errors import UserError, check_whole_number

SIDE = 0.3  # side of the square at scale 1, in image widths
MIN_SCALE = 0.5
MARGIN = 0.25  # from the border to the outermost centres, in image widths: larger than the radius of any shape
TURN = math.pi / 2  # range of the orientations
CELLS = 8  # width of a pixel, in cells of the canvas that a shape is painted on


class Sprites(ImageData):
    """A white square, ellipse or heart on black, with every combination of shape, scale, orientation, x and y once.

    By default 25,920 images of 32x32 pixels, split 15,552 / 5,184 / 5,184, stratified by shape. The label of an image
    is its shape. Scales are evenly spaced from 1/2 to 1, centroids from a quarter to three quarters of the width, so
    that no shape is cut off, and orientations in [0, 90) degrees, anticlockwise. At the same scale, all shapes have the
    same area. The grey value of a pixel is the share of it that the shape covers.
    Raises: UserError if a setting is out of range, or there are so many values that two images are equal.
    Source: modelled on dSprites (Matthey et al. 2017), which has 3 x 6 x 40 x 32 x 32 black-and-white images of 64x64
    pixels. There, each shape has 40 orientations over a full turn, of which the first and the last are the same, and
    four orientations of a square and two of an ellipse give the same image, so that no code can tell them apart. Within
    our quarter turn every image has one orientation, with the same meaning for every shape, so that perfect scores are
    possible. One limit remains: a square turned by almost 90 degrees looks like one that is not turned, so that no
    continuous code can follow the orientation of squares.
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
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name=name, binarize=binarize, flip=flip, batch_size=batch_size, seed=seed)
        self.width = check_whole_number("data.size", size, minimum=8)
        self.scales = check_whole_number("data.scales", scales, minimum=2)
        self.orientations = check_whole_number("data.orientations", orientations, minimum=2)
        self.positions = check_whole_number("data.positions", positions, minimum=2)

    def load(self) -> Splits:
        """Render the splits. Raises: UserError if two images are equal."""
        return _load(self.width, self.scales, self.orientations, self.positions)


@functools.lru_cache(maxsize=1)  # the runs of a sweep in one process render the images once
def _load(size: int, scales: int, orientations: int, positions: int) -> Splits:
    factors = torch.cartesian_prod(
        *(torch.arange(n) for n in (len(SHAPES), scales, orientations, positions, positions))
    )
    images = paint(size, scales, orientations, positions)
    if len({image.tobytes() for image in images.numpy()}) < len(images):
        raise UserError(
            f"data.size={size} is too small to tell {scales} scales, {orientations} orientations and {positions} "
            "positions apart: choose fewer of them, or larger images"
        )
    shape = factors[:, 0]
    parts = three_parts(shape)
    return Splits(
        images={split: images[chosen] for split, chosen in parts.items()},
        labels={split: shape[chosen] for split, chosen in parts.items()},
        factors={split: factors[chosen] for split, chosen in parts.items()},
    )


def paint(size: int, scales: int, orientations: int, positions: int) -> Tensor:
    """Render all images, uint8 (N, 1, size, size), in the order of the factors' values, the last factor fastest.

    Each shape is painted once for all positions, on a canvas whose cells are smaller than pixels. The canvas is then
    placed at each position, and a pixel is the mean of the cells it covers.
    """
    cells = math.ceil(2 * MARGIN * size * CELLS)
    cell = 2 * MARGIN / cells
    along = (torch.arange(cells, dtype=torch.float64) + 0.5) * cell - MARGIN
    down, right = torch.meshgrid(along, along, indexing="ij")
    centres = torch.linspace(MARGIN, 1 - MARGIN, positions, dtype=torch.float64)
    start = torch.arange(size, dtype=torch.float64)[:, None] / size
    left = centres[:, None, None] + along - cell / 2  # left edge of each cell
    overlap = torch.minimum(start + 1 / size, left + cell) - torch.maximum(start, left)
    # The share of each pixel that each cell covers, (positions * size, cells).
    covered = (overlap.clamp(min=0) * size).flatten(0, 1).float()
    images = torch.empty(len(SHAPES), scales, orientations, positions, positions, size, size, dtype=torch.uint8)
    for shape, signed_distance in enumerate(SHAPES):
        for i, scale in enumerate(torch.linspace(MIN_SCALE, 1, scales).tolist()):
            for j, angle in enumerate((torch.arange(orientations) * TURN / orientations).tolist()):
                # Row indices grow downwards, so this rotates the shape anticlockwise by `angle`.
                u = (right * math.cos(angle) - down * math.sin(angle)) / (SIDE * scale)
                v = (right * math.sin(angle) + down * math.cos(angle)) / (SIDE * scale)
                canvas = (0.5 - signed_distance(u, v) * (SIDE * scale / cell)).clamp(0, 1).float()
                grey = (covered @ canvas @ covered.T).reshape(positions, size, positions, size)
                images[shape, i, j] = (grey.permute(2, 0, 1, 3) * 255).round().byte()
    return images.reshape(-1, 1, size, size)


def square(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to the border of a square of area 1 centred at 0, negative inside."""
    return torch.maximum(u.abs(), v.abs()) - 0.5


def ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance, to first order, for a horizontal ellipse of area 1 with axes 2:1.

    It is q / |grad q|, where q = 0 is the border.
    """
    b = 1 / math.sqrt(2 * math.pi)
    a = 2 * b
    r = torch.hypot(u / a, v / b)
    return (r - 1) * r / torch.hypot(u / a**2, v / b**2)


def heart(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance for an upright heart of area 1 with its centroid at 0.

    The heart is a square standing on a corner, with a disc on each of its two upper sides, whose diameter is the side.
    """
    side = 1 / math.sqrt(1 + math.pi / 4)
    # The centroid of each half disc is side / 2 + 4 r / 3 pi from the square's centre; its area is pi r^2 / 2 with
    # r = side / 2.
    offset = side**3 * math.pi / 8 * (1 / 2 + 2 / (3 * math.pi))
    p, q = (
        (u - v) / math.sqrt(2) + offset,
        (-u - v) / math.sqrt(2) + offset,
    )  # coordinates along the normals of the upper sides
    r = side / 2
    body = torch.maximum(p.abs(), q.abs()) - r
    return torch.minimum(body, torch.minimum(torch.hypot(p - r, q), torch.hypot(p, q - r)) - r)


SHAPES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (square, ellipse, heart)
