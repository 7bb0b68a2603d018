"""Data sets of the Hugging Face Hub, or saved in its format."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from latentbench.data.base import ImageData, Split, Splits
from latentbench.data.decode import decode
from latentbench.data.splitting import check_fractions
from latentbench.errors import UserError, check_whole_number

NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}


class HuggingFaceImages(ImageData):
    """The images of a data set on the Hugging Face Hub, or of a folder that `save_to_disk` wrote.

    Splits are those named train, validation (or valid, val) and test. One that is not there is drawn from the training
    images, at random, the same in every run. What else is there is left out. Images are turned as their EXIF data say,
    cropped, and resized with Pillow's bicubic filter, which is antialiased.

    path: a name on the hub, or a folder
    config: the configuration, where a data set on the hub has several
    revision: a branch or a commit of the data set on the hub
    image, label: names of columns; null: the only one of its kind, and labels 0 where there is none
    size: width and height, in pixels; null: as they are, all of one size
    crop: `centre`, the largest centred square, if there is a `size`; `none`; or the width and height of a centred
        square, in pixels
    channels: 1 is grey, 3 is colour; null: 1 if all images are grey, else 3
    fractions: of the training images, for each of `validation` and `test` that is not there
    Raises: UserError if the data set cannot be had, an image cannot be read, or the sizes of images differ.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str | None,
        config: str | None,
        revision: str,
        image: str | None,
        label: str | None,
        size: int | None,
        crop: str | int,
        channels: int | None,
        fractions: Mapping[str, float],
        binarize: str,
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name=name, binarize=binarize, flip=flip, batch_size=batch_size, seed=seed)
        self.path, self.config, self.revision = path, config, revision
        self.image, self.label = image, label
        self.resized = None if size is None else check_whole_number("data.size", size, minimum=1)
        if crop not in ("centre", "none"):
            check_whole_number("data.crop", crop, minimum=1)  # type: ignore[arg-type]
        if channels not in (None, 1, 3):
            raise UserError(f"data.channels={channels}: choose 1 for grey, 3 for colour, or null")
        self.crop, self.channels = crop, channels
        self.fractions = check_fractions(fractions, below=0.5)

    def load(self) -> Splits:
        """Read the splits. Raises: UserError if the data set cannot be had or used."""
        found = self._open()
        parts = {
            split: found[name]
            for split, names in NAMES.items()
            if (name := next(filter(found.__contains__, names), ""))
        }
        if "train" not in parts:
            raise UserError(f"data.path={self.path}: it has no split train, but {', '.join(found)}")
        images: dict[Split, Tensor] = {}
        labels: dict[Split, Tensor] = {}
        for split, part in parts.items():
            images[split], labels[split] = self._images(part, split), self._labels(part)
        shapes = {tuple(tensor.shape[1:]) for tensor in images.values()}
        if len(shapes) > 1:
            raise UserError(f"data.path={self.path}: the splits have images of {len(shapes)} sizes: set data.size")
        if self.channels is None and all(torch.equal(part[:, :1].expand_as(part), part) for part in images.values()):
            images = {split: part[:, :1].contiguous() for split, part in images.items()}
        kept = np.arange(len(labels["train"]))
        for split in NAMES:
            if split not in images:
                n = max(1, round(self.fractions[split] * len(labels["train"])))
                kept, drawn = train_test_split(kept, test_size=n, random_state=0)
                images[split], labels[split] = images["train"][drawn], labels["train"][drawn]
        if parts.keys() == NAMES.keys():  # nothing was drawn, and many data sets are stored class by class
            kept = np.random.default_rng(0).permutation(kept)
        images["train"], labels["train"] = images["train"][kept], labels["train"][kept]
        return Splits(images=images, labels=labels)

    def _open(self) -> Mapping[str, Any]:
        """The splits by their names."""
        if not self.path:
            raise UserError("data.path is not set: name a data set of the hub, or a folder, as in data.path=<name>")
        try:
            import datasets
        except ImportError as error:
            raise UserError("data=huggingface needs datasets: pip install 'latentbench[huggingface]'") from error
        folder = os.path.expanduser(self.path)
        try:
            if os.path.isdir(folder):
                found = datasets.load_from_disk(folder)
            else:
                found = datasets.load_dataset(self.path, self.config, revision=self.revision)
        except datasets.exceptions.DatasetNotFoundError as error:
            raise UserError(
                f"data.path={self.path}: there is no such folder, and no such data set on the hub that you may read. "
                "If it is gated or private, ask for access on its page and log in: hf auth login"
            ) from error
        except ConnectionError as error:
            raise UserError(
                f"data.path={self.path}: there is no such folder, and the hub cannot be reached: name a folder that "
                "save_to_disk wrote, or try again with a network"
            ) from error
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise UserError(f"data.path={self.path} cannot be read: {' '.join(str(error).split())}") from error
        return found if isinstance(found, dict) else {"train": found}

    def _images(self, part: Any, split: str) -> Tensor:
        import datasets

        column = self._column("image", self.image, part, datasets.Image)
        if column is None:
            raise UserError(f"data.path={self.path}: it has no images, but {', '.join(part.features)}")
        images: np.ndarray | None = None
        files = part.select_columns(column).cast_column(column, datasets.Image(decode=False))
        for i, row in enumerate(files):
            pixels = self._decode(row[column], f"data.path={self.path}: image {i} of {split}")
            if images is None:
                images = np.empty((len(files), *pixels.shape), np.uint8)
            if pixels.shape != images.shape[1:]:
                raise UserError(
                    f"data.path={self.path}: image {i} of {split} has {pixels.shape[2]}x{pixels.shape[1]} pixels, "
                    f"others have {images.shape[3]}x{images.shape[2]}: set data.size, such as data.size=64"
                )
            images[i] = pixels
        if images is None:
            raise UserError(f"data.path={self.path}: it has no {split} images")
        return torch.from_numpy(images)

    def _decode(self, file: Mapping[str, Any] | None, where: str) -> np.ndarray:
        size = None if self.resized is None else (self.resized, self.resized)
        try:
            if file is None:
                raise ValueError("there is none")
            content = file["bytes"]
            if content is None:
                with open(file["path"], "rb") as opened:
                    content = opened.read()
            return decode(content, size=size, crop=self.crop, channels=self.channels, background="white")
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except Exception as error:  # whatever Pillow says of a broken file
            raise UserError(f"{where} cannot be read ({type(error).__name__}: {error})") from error

    def _labels(self, part: Any) -> Tensor:
        import datasets

        column = self._column("label", self.label, part, datasets.ClassLabel)
        if column is None:
            return torch.zeros(len(part), dtype=torch.int64)
        labels = np.asarray(part[column])
        if labels.dtype.kind not in "iu":
            raise UserError(f"data.label={column}: give a column of whole numbers")
        return torch.from_numpy(labels.astype(np.int64))

    def _column(self, kind: str, given: str | None, part: Any, feature: type) -> str | None:
        if given is not None:
            if given not in part.features:
                raise UserError(f"data.{kind}={given}: the columns of {self.path} are {', '.join(part.features)}")
            return given
        columns: Sequence[str] = [name for name, value in part.features.items() if isinstance(value, feature)]
        if len(columns) > 1:
            raise UserError(f"data.path={self.path}: set data.{kind} to one of {', '.join(columns)}")
        return columns[0] if columns else None
