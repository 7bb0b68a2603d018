"""Sprites show what their factors say."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from latentbench.contracts.images import SPLITS, data_set
from latentbench.contracts.options import composed, node_of
from latentbench.data.sprites import SIDE, Sprites, _load, paint
from latentbench.errors import UserError
from latentbench.evaluation.build import build

SHAPES, SCALES, ORIENTATIONS, POSITIONS = 3, 6, 10, 12


def sprites() -> Sprites:
    data = data_set("sprites")
    assert isinstance(data, Sprites)
    return data


def ink(images: Tensor) -> Tensor:
    """How much of each image is white, in pixels."""
    return images.double().div(255).flatten(1).sum(1)


def centroid(images: Tensor) -> Tensor:
    """x to the right and y downwards (N, 2), in pixels from the corner."""
    grey = images[:, 0].double()
    along = torch.arange(grey.shape[1], dtype=torch.float64) + 0.5
    mass = grey.sum((1, 2))
    return torch.stack([(grey.sum(1) * along).sum(1) / mass, (grey.sum(2) * along).sum(1) / mass], 1)


def test_every_combination_of_the_factors_is_in_one_split() -> None:
    data = sprites()
    assert data.shape == (1, 32, 32)
    assert data.factor_names == ("shape", "scale", "orientation", "x", "y")
    factors = torch.cat([data.splits.factors[split] for split in SPLITS])
    values = (SHAPES, SCALES, ORIENTATIONS, POSITIONS, POSITIONS)
    wanted = torch.cartesian_prod(*(torch.arange(n) for n in values))
    assert torch.equal(factors.unique(dim=0), wanted)
    assert len(factors) == len(wanted)
    for split in SPLITS:
        assert torch.equal(data.splits.labels[split], data.splits.factors[split][:, 0])


def test_no_two_images_are_alike() -> None:
    images = torch.cat([sprites().splits.images[split] for split in SPLITS])
    assert len({image.tobytes() for image in images.numpy()}) == len(images)


@pytest.mark.parametrize("split", SPLITS)
def test_the_area_is_the_scale_squared_whatever_the_shape_and_wherever_it_lies(split: str) -> None:
    data = sprites()
    scale = 0.5 + 0.5 * data.splits.factors[split][:, 1] / (SCALES - 1)
    # 256 grey levels, and cells of an eighth of a pixel: the smallest square has 4.8 pixels to a side.
    torch.testing.assert_close(ink(data.splits.images[split]), (SIDE * 32 * scale.double()) ** 2, rtol=0.006, atol=0)


@pytest.mark.parametrize("split", SPLITS)
def test_the_centroid_is_where_the_position_says(split: str) -> None:
    data = sprites()
    wanted = 32 * (0.25 + 0.5 * data.splits.factors[split][:, 3:].double() / (POSITIONS - 1))
    assert (centroid(data.splits.images[split]) - wanted).abs().max() < 0.03  # rounding to grey levels


def test_edges_are_grey_and_the_inside_is_white() -> None:
    images = sprites().splits.images["train"].flatten(1)
    assert ((images == 0).sum(1) > 32 * 32 * 0.8).all()
    assert ((images > 250).sum(1) >= 5).all()
    assert (((images > 5) & (images < 250)).sum(1) >= 5).float().mean() > 0.99, "but for squares that fit the pixels"
    assert len(images.unique()) > 200


def test_an_ellipse_lies_at_the_angle_of_its_orientation() -> None:
    images = paint(32, SCALES, ORIENTATIONS, POSITIONS).reshape(SHAPES, -1, ORIENTATIONS, POSITIONS, POSITIONS, 32, 32)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    for orientation in range(ORIENTATIONS):
        grey = images[1, -1, orientation, 4, 7].double()
        x, y = columns - (grey * columns).sum() / grey.sum(), (grey * rows).sum() / grey.sum() - rows  # y upwards
        xx, yy, xy = ((grey * product).sum() for product in (x * x, y * y, x * y))
        angle = math.degrees(0.5 * math.atan2(2 * xy, xx - yy))
        assert (angle - 9 * orientation + 90) % 180 - 90 == pytest.approx(0, abs=1)
        # The axes are as 2 to 1, and variances as their squares.
        major, minor = torch.linalg.eigvalsh(torch.tensor([[xx, xy], [xy, yy]])).flip(0)
        assert major / minor == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("shape", range(SHAPES))
def test_orientation_turns_the_picture(shape: int) -> None:
    # Of three positions the middle one is the centre of the image.
    images = paint(128, 2, 3, 3).reshape(SHAPES, 2, 3, 3, 3, 128, 128)[shape, -1, :, 1, 1].double().numpy() / 255
    area = images[0].sum()
    for orientation, angle in ((1, 30), (2, 60)):
        turned = ndimage.rotate(images[0], angle, reshape=False, order=1)
        # Interpolation moves some grey along the edges; another orientation is off by far more.
        assert np.abs(turned - images[orientation]).sum() < 0.03 * area
        assert np.abs(turned - images[3 - orientation]).sum() > 0.2 * area


def test_shapes_that_are_not_turned_are_upright() -> None:
    images = paint(32, SCALES, ORIENTATIONS, POSITIONS).reshape(SHAPES, SCALES, ORIENTATIONS, -1, POSITIONS, 32, 32)
    upright = images[:, :, 0].int()
    assert (upright.flip(2).flip(-1) - upright).abs().max() <= 1, "mirrored, it is at the mirrored x"
    down = images[:, :, 0, 3].int()
    mirrored = (down.flip(2).flip(-2) - down).abs().flatten(1).amax(1)
    assert (mirrored[:2] <= 1).all(), "a square and an ellipse look alike from below"
    assert mirrored[2] > 100
    heart = images[2, -1, 0, 5, 5] > 127
    widths = heart.sum(1)[heart.any(1)]
    assert widths[-1] <= 2, "it stands on its tip"
    assert widths[:4].max() == widths.max()


@pytest.mark.parametrize("size", [16, 33, 64])
def test_images_of_another_size_show_the_same(size: int) -> None:
    data: Sprites = build(node_of("data", "sprites"), seed=0, size=size, scales=2, orientations=3, positions=4)
    assert data.shape == (1, size, size)
    factors, images = data.factors("train"), data.splits.images["train"]
    assert factors is not None
    scale = 0.5 + 0.5 * factors[:, 1].double()
    torch.testing.assert_close(ink(images), (SIDE * size * scale) ** 2, rtol=0.02, atol=0)
    assert (centroid(images) / size - (0.25 + 0.5 * factors[:, 3:].double() / 3)).abs().max() < 0.003


def test_the_images_are_made_the_same_again_for_every_seed() -> None:
    settings = {"size": 16, "scales": 2, "orientations": 2, "positions": 4}
    one = build(node_of("data", "sprites"), seed=0, **settings).splits
    _load.cache_clear()
    torch.manual_seed(5)
    np.random.seed(5)
    other = build(node_of("data", "sprites"), seed=1, **settings).splits
    assert one is not other
    for split in SPLITS:
        assert torch.equal(one.images[split], other.images[split])
        assert torch.equal(one.factors[split], other.factors[split])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 7}, r"data\.size=7: give a whole number, 8 or more"),
        ({"size": 32.0}, r"data\.size=32\.0: give a whole number"),
        ({"scales": 1}, r"data\.scales=1: give a whole number, 2 or more"),
        ({"orientations": 0}, r"data\.orientations=0: give a whole number, 2 or more"),
        ({"positions": 1}, r"data\.positions=1: give a whole number, 2 or more"),
        ({"size": 8, "positions": 100, "scales": 2}, r"data\.size=8 is too small to tell 2 scales"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(node_of("data", "sprites"), seed=0, **setting).setup()


def test_a_test_set_of_the_default_has_many_images_of_every_value() -> None:
    factors = sprites().factors("test")
    assert factors is not None
    assert composed("data=sprites").data.positions == POSITIONS
    for column in factors.T:
        assert column.bincount().min() > 350  # the score of batches with one value draws 64 of them
