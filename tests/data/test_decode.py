"""Every kind of pixel comes out as the colours that a viewer shows."""

import numpy as np
import pytest
from own_images import encoded, noise
from PIL import Image

from latentbench.data.decode import crop_box, decode

PLAIN = {"size": None, "crop": "none", "channels": None, "background": "white"}


def pixels_of(content: bytes, **settings: object) -> np.ndarray:
    return decode(content, **(PLAIN | settings))


COLOUR = noise(6, 5, 3)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp"])
def test_colours_come_out_as_they_were_written(kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    assert np.array_equal(pixels_of(encoded(COLOUR, kind, **options)), COLOUR.transpose(2, 0, 1))


def test_of_jpeg_colours_are_near() -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    found = pixels_of(encoded(smooth, "jpeg", quality=95))
    assert np.abs(found.astype(int) - smooth.transpose(2, 0, 1)).max() <= 3


def test_grey_is_three_equal_channels_or_one() -> None:
    grey = noise(4, 4)
    assert np.array_equal(pixels_of(encoded(grey)), np.stack([grey] * 3))
    assert np.array_equal(pixels_of(encoded(grey), channels=1), grey[None])
    bits = Image.fromarray(grey).point(lambda level: 255 * (level > 127), "1")
    assert np.array_equal(pixels_of(encoded(bits), channels=1)[0], np.where(grey > 127, 255, 0))


def test_a_palette_gives_its_colours_and_its_transparent_entry_the_background() -> None:
    palette = Image.new("P", (2, 2))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 1, 2])
    found = pixels_of(encoded(palette))
    assert found[:, 0, 0].tolist() == [255, 0, 0]
    assert found[:, 1, 1].tolist() == [0, 0, 255]
    found = pixels_of(encoded(palette, transparency=0), background="black")
    assert found[:, 0, 0].tolist() == [0, 0, 0]
    assert found[:, 0, 1].tolist() == [0, 255, 0]


@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_show_the_background(mode: str, background: str, expected: int) -> None:
    image = Image.new(mode, (3, 3), (10, 20, 30, 0) if mode == "RGBA" else (10, 0))
    assert (pixels_of(encoded(image), background=background) == expected).all()
    half = Image.new("RGBA", (1, 1), (100, 100, 100, 51))
    found = pixels_of(encoded(half), background=background)
    assert np.abs(found.astype(float) - (0.2 * 100 + 0.8 * expected)).max() <= 1


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits_are_rounded_to_8(kind: str) -> None:
    levels = np.array([[0, 128, 129, 257], [32767, 32768, 65406, 65535]], np.uint16)
    assert np.array_equal(pixels_of(encoded(levels, kind), channels=1)[0], np.rint(levels / 257))


def test_other_numbers_than_grey_levels_are_broken() -> None:
    for levels in (np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70000, np.int32)):
        with pytest.raises(ValueError, match="pixels are neither of 8 nor of 16 bits"):
            pixels_of(encoded(levels, "tiff"))


def test_cmyk_is_turned_into_colours() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind in ("tiff", "jpeg"):
        red, green, blue = pixels_of(encoded(cyan, kind))[:, 4, 4].tolist()
        assert red < 10
        assert min(green, blue) > 245


def test_an_image_is_turned_as_its_exif_data_say() -> None:
    image = Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right: turn by 90 degrees clockwise
    found = pixels_of(encoded(image, "png", exif=exif))
    assert np.array_equal(found.transpose(1, 2, 0), np.rot90(COLOUR, -1))


def test_the_first_image_of_a_file_counts() -> None:
    first, second = Image.new("L", (2, 2), 7), Image.new("L", (2, 2), 9)
    content = encoded(first, "tiff", save_all=True, append_images=[second])
    assert (pixels_of(content) == 7).all()


def test_crops_are_centred() -> None:
    assert crop_box(178, 218, 140, None) == (19, 39, 159, 179)  # CelebA's
    assert crop_box(10, 6, "centre", None) is None, "as it is"
    assert crop_box(10, 6, "centre", (32, 64)) == (0, 0, 10, 5)
    assert crop_box(10, 6, "none", (8, 8)) is None
    found = pixels_of(encoded(COLOUR), crop=2)
    assert np.array_equal(found, COLOUR[2:4, 1:3].transpose(2, 0, 1))


def test_resizing_averages_over_what_a_pixel_covers() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # of one pixel: without antialiasing they would give black or white
    found = pixels_of(encoded(stripes), size=(8, 4))
    assert found.shape == (3, 8, 4)
    assert np.abs(found.astype(int) - 127).max() <= 4
