"""The splits of a data set, their order, and the checks of what a data set gives."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from latentbench.data.streaming import SPLITS, Split, parts
from latentbench.errors import UserError

# Splits may share some images, since a data set may contain an image twice. If they share more than half, it is a slip.
MAX_SHARED = 0.5
# Channels of a picture: grey or red-green-blue, with or without opacity. If there are more channels than this, and no
# more columns, the channels are last by mistake.
PICTURE_CHANNELS = 4


@dataclasses.dataclass(frozen=True)
class Splits:
    """The images of each split, their labels, and the factors of variation where these are known."""

    images: Mapping[Split, Tensor]  # uint8 (N, C, H, W); `MappedImages` if they lie in a file
    labels: dict[Split, Tensor]  # int64 (N,)
    # int64 (N, K): the index, from 0, of each factor's value in each image. Empty if the factors are not known.
    factors: dict[Split, Tensor] = dataclasses.field(default_factory=dict)


def sort_by_content(splits: Splits, *names: Split) -> Splits:
    """Sort the images of the named splits by their SHA-256.

    Files often hold the images of one writer, class or shape after another. After sorting, the first n images are as
    good a sample as any, and random choices do not depend on the order in the file.
    """
    orders = {name: order_of_content(parts(splits.images, name)) for name in names}
    if all(order == sorted(order) for order in orders.values()):
        return splits  # images in a file are sorted already, and stay there
    images, labels, factors = dict(splits.images), dict(splits.labels), dict(splits.factors)
    for name, order in orders.items():
        for tensors in (images, labels, factors):
            if name in tensors:
                tensors[name] = tensors[name][torch.tensor(order)]
    return Splits(images=images, labels=labels, factors=factors)


def order_of_content(images: Iterable[Tensor]) -> list[int]:
    """The numbers of images, given in several tensors (N, C, H, W), in the order of their SHA-256."""
    digests = [hashlib.sha256(image.numpy().tobytes()).digest() for part in images for image in part]
    return sorted(range(len(digests)), key=digests.__getitem__)


def check_splits(splits: Any, *, name: str, factor_names: Sequence[str]) -> Splits:
    """Return what a data set's `load` gave.

    name: the class of the data set
    Raises: UserError for the first thing that is not as `Splits` and `ImageData` say.
    """
    if not isinstance(splits, Splits):
        raise UserError(f"{name}.load returns a {type(splits).__name__}: return Splits")
    content: dict[str, Mapping[Split, Tensor]] = {"images": splits.images, "labels": splits.labels}
    if splits.factors or factor_names:
        content["factors"] = splits.factors
    for kind, by_split in content.items():
        if set(by_split) != set(SPLITS):
            came = ", ".join(by_split) or "no split"
            raise UserError(f"{name}.load gives {kind} of {came}: give {', '.join(SPLITS)}")
    for split in SPLITS:
        named = {kind: f"{name}.load gives {split} {kind}" for kind in content}
        _check_images(splits.images[split], named["images"], like=splits.images["train"])
        if all(part.max() <= 1 for part in parts(splits.images, split)):
            came = f"{named['images']} {_describe(splits.images[split])}, of which no value is above 1"
            raise UserError(f"{came}: give values from 0 to 255, 255 for white")
        n = len(splits.images[split])
        _check_numbers(splits.labels[split], (n,), named["labels"])
        if "factors" in content:
            _check_numbers(splits.factors[split], (n, len(factor_names)), named["factors"])
            if (splits.factors[split] < 0).any():
                raise UserError(f"{named['factors']} below 0: count values from 0")
    _check_overlap(splits.images, name)
    return splits


def _check_images(images: Any, came: str, *, like: Tensor) -> None:
    came, wanted = f"{came} {_describe(images)}", "give uint8 (N, C, H, W) on the CPU"
    if not _is(images, torch.uint8) or images.dim() != 4:
        raise UserError(f"{came}: {wanted} and grey values from 0 to 255")
    if images.numel() == 0:
        raise UserError(f"{came}: give at least one image, of at least one pixel")
    if images.shape[1] > PICTURE_CHANNELS >= images.shape[3]:
        raise UserError(f"{came}: {wanted}; these have the channels last: images.permute(0, 3, 1, 2)")
    if images.shape[1:] != like.shape[1:]:
        raise UserError(f"{came}, unlike the train images {_describe(like)}: give images of one shape")


def _check_numbers(numbers: Any, shape: tuple[int, ...], came: str) -> None:
    """Check labels (N,), or factors (N, K)."""
    if not _is(numbers, torch.int64) or numbers.shape != shape:
        columns = ", a column for each of factor_names" if len(shape) == 2 else ""
        raise UserError(f"{came} {_describe(numbers)}: give int64 {shape} on the CPU{columns}")


def _check_overlap(images: Mapping[Split, Tensor], name: str) -> None:
    rows = {split: [hash(row.tobytes()) for part in parts(images, split) for row in part.numpy()] for split in images}
    for other, one in itertools.combinations(SPLITS, 2):
        seen = set(rows[other])
        shared = sum(row in seen for row in rows[one])
        if shared > MAX_SHARED * len(rows[one]):
            raise UserError(
                f"{name}: {shared} of {len(rows[one])} {one} images are {other} images, too: give splits that do not "
                "overlap"
            )


def _is(content: Any, dtype: torch.dtype) -> bool:
    return isinstance(content, Tensor) and content.dtype == dtype and content.device.type == "cpu"


def _describe(content: Any) -> str:
    if not isinstance(content, Tensor):
        return f"as {type(content).__name__}"
    return f"{str(content.dtype).removeprefix('torch.')} {tuple(content.shape)} on {content.device}"
