"""What a run keeps to be seen, as pictures that say what they show."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentbench.reporting import plots as figures
from latentbench.reporting.plots import Images

PER_LINE = 8  # images
SETS = ("real", "original", "reconstruction", "interpolation", "traversal")  # of images; all others are samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """Pixels (height, width, C + 1), the last channel opacity; `width` and `height` as it is to be seen."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    caption: str


def pictures(kept: Mapping[str, NDArray[Any]], *, lines: int) -> dict[str, Picture]:
    """The pictures of what a run keeps, by what they show; of a set of images the first `lines` of eight each."""
    images = only_images(kept)
    made = {}
    for key in sorted(images.keys() - set(SETS), key=lambda key: (key != "prior", key)):
        made[key] = side_by_side(cut(images[key])[:lines], f"samples: latents drawn by {key}, decoded")
    real, original, back, between, traversal = (images.get(key) for key in SETS)
    if original is not None and back is not None:
        pairs = list(zip(cut(original), cut(back), strict=False))[: lines // 2]
        caption = "originals, and below each its reconstruction"
        made["reconstruction"] = side_by_side([line for pair in pairs for line in pair], caption)
    if back is not None and between is not None and len(between) > 1:
        # an image of `interpolation` lies between its own and the one before
        above_each_other = [back[:PER_LINE], between[1 : PER_LINE + 1], back[1 : PER_LINE + 1]]
        caption = "two reconstructions, and between them the image half-way between their latents"
        made["interpolation"] = side_by_side(above_each_other, caption)
    if traversal is not None and "coordinates" in kept:
        names = kept["coordinates"].ravel().tolist()
        each = np.array_split(traversal, len(names))
        made["traversal"] = side_by_side(each, _traversed(names, of_codes="codes" in kept))
    if "codes" in kept and "labels" in kept:
        made["codes"] = _scatter(kept["codes"], kept["labels"], kept.get("shares"))
    if real is not None:
        made["real"] = side_by_side(cut(real)[:lines], "real images, which the model was not trained on")
    return made


def only_images(kept: Mapping[str, NDArray[Any]]) -> dict[str, Images]:
    """What of it is images (N, C, H, W)."""
    return {name: array for name, array in kept.items() if array.ndim == 4 and array.dtype == np.uint8}


def cut(images: Images) -> list[Images]:
    """Images in lines."""
    return [images[start : start + PER_LINE] for start in range(0, len(images), PER_LINE)]


def side_by_side(lines: Sequence[Images], caption: str) -> Picture:
    """Lines of images below each other, with nothing between them."""
    channels, height, width = lines[0].shape[1:]
    gap = max(1, round(0.06 * width))
    columns = max(map(len, lines))
    shape = (len(lines) * (height + gap) - gap, columns * (width + gap) - gap, channels + 1)
    canvas = np.zeros(shape, dtype=np.uint8)
    for line, images in enumerate(lines):
        for column, image in enumerate(images):
            y, x = line * (height + gap), column * (width + gap)
            canvas[y : y + height, x : x + width, :channels] = image.transpose(1, 2, 0)
            canvas[y : y + height, x : x + width, channels] = 255
    zoom = max(1, 28 // width)
    return Picture(pixels=canvas, width=shape[1] * zoom, height=shape[0] * zoom, caption=caption)


def _traversed(coordinates: Sequence[int], *, of_codes: bool) -> str:
    whose = "the codes of test images" if of_codes else "draws of the prior"
    return (
        f"traversal: along a line one coordinate of the latent changes over the values that {whose} have, and the "
        f"others stay; from above coordinates {', '.join(map(str, coordinates))} (counted from 0), widest spread first"
    )


def _scatter(codes: NDArray[Any], labels: NDArray[Any], shares: NDArray[Any] | None) -> Picture:
    """Latents in the plane."""
    coloured = ", coloured by label" if len(np.unique(labels)) > 1 else ""
    what, names = f"latents of {len(codes)} test images{coloured}", ("coordinate 0", "coordinate 1")
    if shares is not None:
        first, second = (f"{100 * share:.0f} %" for share in shares)
        what += f": their first two principal components, with {first} and {second} of the variance"
        names = (f"component 1 ({first})", f"component 2 ({second})")
    figure = figures.scatter(codes, labels, names=names)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    pixels = np.asarray(Image.open(content).convert("RGBA"))
    height, width = (size * 2 // 3 for size in pixels.shape[:2])
    return Picture(pixels=pixels, width=width, height=height, caption=what)
