"""Images as users have them become the tensors that models take, or one line that says what is wrong with them."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.contracts.images import few_digits
from latentbench.evaluation.image_input import as_images

GREY = few_digits().splits.images["test"]  # uint8


def pictures(mode: str) -> list[Image.Image]:
    return [Image.fromarray(image[0].numpy()).convert(mode) for image in GREY]


@pytest.mark.parametrize(
    "images",
    [
        GREY, GREY.numpy(), GREY.float() / 255, GREY.double() / 255, GREY.numpy() / 255, list(GREY), list(GREY.numpy()),
        pictures("L"), pictures("RGB"), [GREY[:30], GREY[30:]], np.asarray(GREY.numpy()[::-1])[::-1],
        (GREY.numpy() / 255).astype(">f8"),
    ],
    ids=[
        "torch uint8", "numpy uint8", "torch float", "torch double", "numpy double", "torch list", "numpy list", "PIL",
        "PIL in colour", "batches", "numpy backwards", "numpy of other bytes",
    ],
)  # fmt: skip
def test_images_of_every_kind_are_the_same_images(images: Any) -> None:
    assert torch.equal(as_images(images, (1, 8, 8)), GREY.float() / 255)


@pytest.mark.parametrize("image", [GREY[0], GREY[0].numpy(), GREY[0].float() / 255, pictures("L")[0]])
def test_one_image_is_a_batch_of_one(image: Any) -> None:
    assert torch.equal(as_images(image, (1, 8, 8)), GREY[:1].float() / 255)


def test_pictures_in_colour_and_read_only_arrays_are_taken() -> None:
    pixels = torch.randint(0, 256, (6, 5, 3), dtype=torch.uint8)
    picture = Image.fromarray(pixels.numpy())
    expected = pixels.permute(2, 0, 1)[None].float() / 255
    assert torch.equal(as_images(picture, (3, 6, 5)), expected)
    assert torch.equal(as_images(np.asarray(picture).transpose(2, 0, 1), (3, 6, 5)), expected)


def test_a_picture_gives_a_run_of_other_channels_those_that_it_has() -> None:
    pixels = torch.randint(0, 256, (6, 5, 4), dtype=torch.uint8)
    picture = Image.fromarray(pixels.numpy())
    assert torch.equal(as_images(picture, (4, 6, 5)), pixels.permute(2, 0, 1)[None].float() / 255)
    with pytest.raises(ValueError, match=r"needs images of 2x6x5 .*, not \(1, 4, 6, 5\)"):
        as_images(picture, (2, 6, 5))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY[..., :7], "needs images of 1x8x8 (C, H, W), one or several, not (40, 1, 8, 7)"),
        (GREY[0, 0], "needs images of 1x8x8 (C, H, W), one or several, not (8, 8)"),
        (GREY.permute(0, 2, 3, 1), "not (40, 8, 8, 1)"),
        (torch.rand(2, 3, 8, 8), "not (2, 3, 8, 8)"),
        (Image.new("L", (9, 8)), "not (1, 1, 8, 9)"),
        (Image.new("I;16", (8, 8)), "mode I;16"),
        (Image.new("F", (8, 8)), "mode F"),
        (GREY.float(), "floats must lie in [0, 1], and these lie in [0, 255]: divide by 255, or clip"),
        (GREY.float() / 255 - 0.1, "floats must lie in [0, 1]"),
        (torch.full((1, 8, 8), torch.nan), "floats must lie in [0, 1]"),
        (GREY.long(), "must be uint8, or floats in [0, 1], not torch.int64"),
        (GREY.numpy() > 100, "must be uint8, or floats in [0, 1], not torch.bool"),
        (GREY.numpy().astype(np.uint16), "must be uint8, or floats in [0, 1], not torch.uint16"),
        (np.array(["a", "b"]), "are no images"),
        ("digits.png", "are no images"),
        (None, "are no images"),
        ([], "there are no images"),
    ],
)
def test_images_that_a_run_cannot_use_are_one_clear_line(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^[^\n]*{re.escape(message)}[^\n]*$"):
        as_images(images, (1, 8, 8))
