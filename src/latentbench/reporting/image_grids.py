"""Makes pictures with captions from the images that a run saved."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentbench.records.record import Record
from latentbench.records.run_folder import load_images
from latentbench.records.store import images_of
from latentbench.reporting.plots import Images, as_shown, scatter

PER_LINE = 8  # images
NOT_SAMPLES = ("real", "original", "reconstruction", "interpolation", "traversal")  # all other image sets are samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """An image grid or a plot. Shape: pixels (height, width, C + 1), the last channel is opacity.

    width, height: the size on the page, in CSS pixels
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    caption: str


def enlarge(picture: Picture) -> Picture:
    """The picture with the pixels that it takes on the page, for a file that is looked at by itself."""
    zoom = max(1, picture.width // picture.pixels.shape[1])
    return dataclasses.replace(picture, pixels=picture.pixels.repeat(zoom, 0).repeat(zoom, 1))


def to_png(picture: Picture) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture.pixels).save(content, "PNG", optimize=True)
    return content.getvalue()


def load_arrays(folder: Path, run: Record) -> dict[str, NDArray[Any]]:
    """The image sets and latents that a run saved; empty if the file is missing or damaged.

    folder: the folder of the study
    """
    return load_images(images_of(folder, run))


def pictures(arrays: Mapping[str, NDArray[Any]], *, lines: int) -> dict[str, Picture]:
    """Key -> picture of a run, such as `prior` or `reconstruction`.

    lines: the largest number of lines, of eight images each, for an image set
    """
    images = only_images(arrays)
    shown = {}
    for key in sorted(images.keys() - set(NOT_SAMPLES), key=lambda key: (key != "prior", key)):
        shown[key] = image_grid(split_lines(images[key])[:lines], f"samples: decoded latents, drawn by {key}")
    real, original, reconstruction, interpolation, traversal = (images.get(key) for key in NOT_SAMPLES)
    if original is not None and reconstruction is not None:
        pairs = list(zip(split_lines(original), split_lines(reconstruction), strict=False))[: lines // 2]
        caption = "originals, each above its reconstruction"
        shown["reconstruction"] = image_grid([line for pair in pairs for line in pair], caption)
    if reconstruction is not None and interpolation is not None and len(interpolation) > 1:
        # Interpolation i lies between reconstructions i - 1 and i.
        triples = [reconstruction[:PER_LINE], interpolation[1 : PER_LINE + 1], reconstruction[1 : PER_LINE + 1]]
        caption = "two reconstructions and, between them, the image decoded half-way between their latents"
        shown["interpolation"] = image_grid(triples, caption)
    if traversal is not None and "coordinates" in arrays:
        coordinates = arrays["coordinates"].ravel().tolist()
        per_coordinate = np.array_split(traversal, len(coordinates))
        shown["traversal"] = image_grid(per_coordinate, _traversal_caption(coordinates, of_codes="codes" in arrays))
    if "codes" in arrays and "labels" in arrays:
        shown["codes"] = _latent_plot(arrays["codes"], arrays["labels"], arrays.get("shares"))
    if real is not None:
        shown["real"] = image_grid(split_lines(real)[:lines], "real images, which the model was not trained on")
    return shown


def only_images(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Images]:
    """The arrays that are image sets (N, C, H, W)."""
    return {name: array for name, array in arrays.items() if array.ndim == 4 and array.dtype == np.uint8}


def split_lines(images: Images) -> list[Images]:
    """Images in lines of eight."""
    return [images[start : start + PER_LINE] for start in range(0, len(images), PER_LINE)]


def image_grid(lines: Sequence[Images], caption: str) -> Picture:
    """Lines of images below each other, with transparent gaps."""
    given = lines[0].shape[1]
    lines = [as_shown(images) for images in lines]
    channels, height, width = lines[0].shape[1:]
    if channels != given:
        caption += f"; in grey, the mean of {given} channels"
    gap = max(1, round(0.06 * width))
    columns = max(map(len, lines))
    shape = (len(lines) * (height + gap) - gap, columns * (width + gap) - gap, channels + 1)
    canvas = np.zeros(shape, dtype=np.uint8)
    for line, images in enumerate(lines):
        for column, image in enumerate(images):
            y, x = line * (height + gap), column * (width + gap)
            canvas[y : y + height, x : x + width, :channels] = image.transpose(1, 2, 0)
            canvas[y : y + height, x : x + width, channels] = 255
    zoom = max(1, 28 // math.isqrt(height * width))
    return Picture(pixels=canvas, width=shape[1] * zoom, height=shape[0] * zoom, caption=caption)


def _traversal_caption(coordinates: Sequence[int], *, of_codes: bool) -> str:
    whose = "the codes of test images" if of_codes else "draws of the prior"
    return (
        f"traversal: in each line, one coordinate of a latent moves over the range of {whose} and the others stay "
        f"fixed; from the top, coordinates {', '.join(map(str, coordinates))} (counted from 0), widest spread first"
    )


def _latent_plot(codes: NDArray[Any], labels: NDArray[Any], shares: NDArray[Any] | None) -> Picture:
    """A plot of latents in the plane.

    shares: explained shares of the variance, if the axes are principal components
    """
    coloured = ", coloured by label" if len(np.unique(labels)) > 1 else ""
    caption, names = f"latents of {len(codes)} test images{coloured}", ("coordinate 0", "coordinate 1")
    if shares is not None:
        first, second = (f"{100 * share:.0f} %" for share in shares)
        caption += f": their first two principal components, with {first} and {second} of the variance"
        names = (f"component 1 ({first})", f"component 2 ({second})")
    content = io.BytesIO()
    scatter(codes, labels, names=names).savefig(content, format="png")
    pixels = np.asarray(Image.open(content).convert("RGBA"))
    height, width = (size * 2 // 3 for size in pixels.shape[:2])
    return Picture(pixels=pixels, width=width, height=height, caption=caption)
