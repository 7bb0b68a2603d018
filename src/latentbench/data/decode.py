"""The pixels of an image file, by Pillow."""

import io

import numpy as np
from PIL import Image, ImageOps

from latentbench.errors import UserError

WHITE, BLACK = 255, 0
BACKGROUNDS = {"white": WHITE, "black": BLACK}
WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def decode(
    content: bytes, *, size: tuple[int, int] | None, crop: str | int, channels: int | None, background: str
) -> np.ndarray:
    """The pixels of the first image in a file, uint8 (C, H, W).

    size: (H, W) to resize to; null: as it is
    crop: `none`; `centre`, the largest centred part with the proportions of `size`, or all where there is none; or the
        width and height of a centred square, in pixels of the file
    channels: 1 or 3; null: 3
    background: what lies behind transparent pixels
    Raises: UserError if the image is smaller than the crop; any other error if the file is broken.
    """
    with Image.open(io.BytesIO(content)) as opened:
        image = in_mode(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB", background)
    if (box := crop_box(image.width, image.height, crop, size)) is not None:
        image = image.crop(box)
    if size is not None and (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def in_mode(image: Image.Image, mode: str, background: str) -> Image.Image:
    """The image in grey (L) or colour (RGB), of 8 bits, without transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        image = in_8_bits(image)
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        behind = Image.new("RGBA", image.size, (*[BACKGROUNDS[background]] * 3, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")  # grey of a palette, for example, goes by way of its colours
    return image.convert(mode)


def in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits in 8. Raises: ValueError if pixels have another range, which nothing tells."""
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise ValueError("pixels are neither of 8 nor of 16 bits")
    return Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def crop_box(
    width: int, height: int, crop: str | int, size: tuple[int, int] | None
) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what is kept; None if all is."""
    if crop == "none" or (crop == "centre" and size is None):
        return None
    if isinstance(crop, int):
        w = h = crop
        if w > width or h > height:
            raise UserError(f"data.crop={crop}: the image has {width}x{height} pixels; take a smaller one, or centre")
    else:
        assert size is not None
        rows, columns = size
        scale = min(width / columns, height / rows)
        w, h = max(1, round(scale * columns)), max(1, round(scale * rows))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
