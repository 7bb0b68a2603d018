"""The contract of a data set: fixed splits, held in memory as uint8 and batched by index."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from latentbench.data.splits import Splits as Splits
from latentbench.data.splits import check_splits, sort_by_content
from latentbench.data.streaming import Split as Split
from latentbench.data.streaming import StreamedImages, place
from latentbench.errors import UserError, check_whole_number

CHUNK = 100  # training batches between two steps of the trainer
VALIDATION_PIXELS = 2**20  # in a batch: some likelihoods take a hundred bytes for each
BINARIZATIONS = ("none", "threshold", "dynamic")
# Validation and test images are binarized once, with the same random numbers in every run.
BINARIZATION_SEED: dict[Split, int] = {"train": 1, "validation": 2, "test": 3}


class ImageData(pl.LightningDataModule):
    """A data set with the splits train, validation and test, as batches of images (B, C, H, W) in [0, 1].

    To add one, subclass ImageData and implement `load`. Requirements:
    - the splits are as `Splits` says, with values up to 255. Images have any number of channels and any size, but more
      than 4 columns if they have more than 4 channels. Three channels are red, green and blue. Those of other numbers
      are shown in grey, as the mean over channels;
    - the splits are the same in every run, do not overlap, and do not depend on `seed`;
    - training images are in random order, so that the first are a random sample, and not class by class;
    - the official test split, if there is one, is the test split. It is never used for training or tuning;
    - if the factors of variation are known, every split has them, and `factor_names` names them.

    An own data set counts by its content, so that a change of its files is another run: of its code, and of the files
    that its settings name. A setting `root` is the folder of its files and of nothing else.

    name: identifies the data in records, and the weights of its classifier features.
    binarize: `none` keeps grey values; `threshold` cuts at 1/2; `dynamic` draws each pixel from a Bernoulli
        distribution with the grey value as its mean, anew in every epoch for training images, and once, with a fixed
        seed, for validation and test images (Salakhutdinov & Murray 2008; Burda et al. 2016, section 5).
    flip: whether each training image is mirrored, left to right, with probability 1/2, drawn anew in every epoch; a
        data set of your own may leave it out
    seed: determines the order of training images, their dynamic binarization and which are mirrored.
    """

    factor_names: ClassVar[tuple[str, ...]] = ()  # names of the K factors of variation; empty if they are not known

    noise_caveat: ClassVar[str] = ""  # of every metric of images; of data whose images have noise of their own

    def __init__(self, *, name: str, binarize: str, batch_size: int, seed: int, flip: bool = False) -> None:
        super().__init__()
        if binarize not in BINARIZATIONS:
            raise UserError(f"data.binarize={binarize}: choose one of {', '.join(BINARIZATIONS)}")
        if type(flip) is not bool:
            raise UserError(f"data.flip={flip}: give true or false")
        self.name = name
        self.flip = flip
        self.binarize = binarize
        self.batch_size = check_whole_number("data.batch_size", batch_size, minimum=1)
        self.seed = seed
        self._splits: Splits | None = None
        self._epochs = 0  # for a resumed training: epochs finished before the interruption

    @abstractmethod
    def load(self) -> Splits:
        """Read the splits. Raises: UserError if files are missing or invalid."""

    def setup(self, stage: str | None = None) -> None:
        """Load the images, if they are not loaded yet."""
        if self._splits is None:
            splits = check_splits(self.load(), name=type(self).__name__, factor_names=self.factor_names)
            self._splits = sort_by_content(splits, "validation", "test")

    @property
    def splits(self) -> Splits:
        self.setup()
        assert self._splits is not None
        return self._splits

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.splits.images["train"].shape
        return channels, height, width

    @property
    def is_binary(self) -> bool:
        """True if all pixels that a model sees are 0 or 1."""
        return self.binarize != "none"

    def size(self, split: Split) -> int:
        """Number of images in a split."""
        return len(self.splits.images[split])

    def factors(self, split: Split) -> Tensor | None:
        """The index of each factor's value in each image, int64 (N, K); None if the factors are not known."""
        return self.splits.factors.get(split)

    def images(self, split: Split) -> Tensor:
        """Images (N, C, H, W) as a model sees them. With dynamic binarization this is one fixed draw."""
        generator = torch.Generator().manual_seed(BINARIZATION_SEED[split])
        return to_float(self.splits.images[split], self.binarize, generator)

    def chunks(self, split: Split, size: int) -> Iterator[Tensor]:
        """The same images, `size` at a time, for splits that would not fit into memory as floats."""
        generator = torch.Generator().manual_seed(BINARIZATION_SEED[split])
        for start in range(0, self.size(split), size):
            yield to_float(self.splits.images[split][start : start + size], self.binarize, generator)

    def expected_images(self, split: Split, rows: slice = slice(None)) -> Tensor:
        """Images (N, C, H, W) averaged over the noise of dynamic binarization, as a decoder's mean image should be.

        rows: those of the split that are wanted
        """
        return to_float(self.splits.images[split][rows], "none" if self.binarize == "dynamic" else self.binarize, None)

    def facts(self) -> dict[str, Any]:
        """What the data set found out about its files, for the record."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The number of finished epochs, for the checkpoint."""
        assert self.trainer is not None
        return {"epochs": self.trainer.current_epoch + 1}  # checkpoints are saved at the end of an epoch

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the batches of the next epoch."""
        self._epochs = state_dict["epochs"]

    def train_dataloader(self) -> "Chunks":
        """Chunks of the shuffled training batches, of as many as `trainer.limit_train_batches` says."""
        assert self.trainer is not None
        limit = self.trainer.limit_train_batches
        return Chunks(self.train_batches(), limit=limit if isinstance(limit, int) else None)

    def train_batches(self) -> "Batches":
        """Shuffled training batches."""
        return self._batches("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> "Batches":
        """Validation batches in a fixed order, of 1000 images or of fewer large ones."""
        return self._batches("validation", min(1000, max(1, VALIDATION_PIXELS // math.prod(self.shape))), shuffle=False)

    def _batches(self, split: Split, batch_size: int, *, shuffle: bool) -> "Batches":
        assert self.trainer is not None
        return Batches(
            place(self.splits.images, split, self.trainer.strategy.root_device),
            binarize=self.binarize,
            batch_size=batch_size,
            seed=self.seed if shuffle else BINARIZATION_SEED[split],
            shuffle=shuffle,
            flip=self.flip and split == "train",
            epoch=self._epochs,
        )


class Chunks:
    """Batches in chunks of `CHUNK`. A step of the trainer is a chunk, since it costs more than a model's step.

    A chunk makes its batches one by one, and has to be used up before the next chunk is asked for.
    limit: the most batches of an epoch; None: all
    """

    def __init__(self, batches: "Batches", *, limit: int | None) -> None:
        self.batches = batches
        self.n_batches = len(batches) if limit is None else min(len(batches), limit)
        self.size = CHUNK

    def __len__(self) -> int:
        return -(-self.n_batches // self.size)

    def __iter__(self) -> Iterator[Iterator[Tensor]]:
        batches = itertools.islice(self.batches, self.n_batches)
        for _ in range(len(self)):
            yield itertools.islice(batches, self.size)


class Batches:
    """Batches of uint8 images, sliced on their own device, without work per image and without worker processes.

    Images that do not fit there are streamed; the batches are the same. Shuffled batches depend on the seed and the
    epoch alone. Every pass over the batches is one epoch.
    epoch: number of the first pass, for resumed training.
    """

    def __init__(
        self,
        images: Tensor | StreamedImages,
        *,
        binarize: str,
        batch_size: int,
        seed: int,
        shuffle: bool,
        flip: bool = False,
        epoch: int = 0,
    ) -> None:
        self.images = images
        self.binarize = binarize
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.flip = flip
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator(self.images.device)
        generator.manual_seed(self.seed * 1_000_003 + self.epoch if self.shuffle else self.seed)
        self.epoch += 1
        n = len(self.images)
        order = torch.randperm(n, generator=generator, device=self.images.device) if self.shuffle else None
        for images in self._cut(order):
            if self.flip:
                is_mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
                images = torch.where(is_mirrored[:, None, None, None], images.flip(-1), images)
            yield to_float(images, self.binarize, generator)

    def _cut(self, order: Tensor | None) -> Iterator[Tensor]:
        if isinstance(self.images, StreamedImages):
            order = torch.arange(len(self.images)) if order is None else order.cpu()
            yield from self.images.cut(order.split(self.batch_size))
            return
        for start in range(0, len(self.images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            yield self.images[batch if order is None else order[batch]]


def to_float(images: Tensor, binarize: str, generator: torch.Generator | None) -> Tensor:
    """Convert uint8 images to floats in [0, 1] and binarize them; `generator` is for dynamic binarization."""
    grey = images.float().div_(255)
    if binarize == "threshold":
        return (grey >= 0.5).float()
    return torch.bernoulli(grey, generator=generator) if binarize == "dynamic" else grey
