"""The contract of a data set: fixed splits, kept in memory as uint8 and batched by index."""

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from latentbench.errors import UserError, check_whole_number

Split = Literal["train", "validation", "test"]
BINARIZATIONS = ("none", "threshold", "dynamic")
# Validation and test images are binarized once, the same for every run.
BINARIZATION_SEED = {"train": 1, "validation": 2, "test": 3}


@dataclasses.dataclass(frozen=True)
class Splits:
    """Images uint8 (N, C, H, W) and labels int64 (N,) of each split, and int64 (N, K) what they were made from."""

    images: dict[Split, Tensor]
    labels: dict[Split, Tensor]
    # Which of its values each factor has in each image, counted from 0; empty where the factors are not known.
    factors: dict[Split, Tensor] = dataclasses.field(default_factory=dict)


def by_content(splits: Splits, *names: Split) -> Splits:
    """The same with the images of these splits in the order of their SHA-256.

    Whatever is drawn or chosen by place then does not depend on the order they came in, and the first of them are as
    good a sample as any: files often have one writer's, one class's or one shape's images after another's.
    """
    images, labels, factors = dict(splits.images), dict(splits.labels), dict(splits.factors)
    for name in names:
        digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images[name]]
        order = torch.tensor(sorted(range(len(digests)), key=digests.__getitem__))
        for of_split in (images, labels, factors):
            if name in of_split:
                of_split[name] = of_split[name][order]
    return Splits(images=images, labels=labels, factors=factors)


class ImageData(pl.LightningDataModule):
    """Images (B, C, H, W) in [0, 1]; the official test split is never trained or tuned on.

    binarize: `none` leaves grey values; `threshold` cuts at 1/2; `dynamic` draws each pixel from a Bernoulli
    distribution with the grey value as its mean, anew every epoch for training images and once, with a fixed
    seed, for validation and test images (Salakhutdinov & Murray 2008; Burda et al. 2016, section 5).
    """

    factor_names: ClassVar[tuple[str, ...]] = ()  # of the K factors, where they are known

    def __init__(self, *, name: str, binarize: str, batch_size: int, seed: int) -> None:
        super().__init__()
        if binarize not in BINARIZATIONS:
            raise UserError(f"data.binarize={binarize}: choose one of {', '.join(BINARIZATIONS)}")
        self.name = name
        self.binarize = binarize
        self.batch_size = check_whole_number("data.batch_size", batch_size, minimum=1)
        self.seed = seed
        self._splits: Splits | None = None
        self._epochs = 0  # of a training that goes on, before it was cut off

    @abstractmethod
    def load(self) -> Splits:
        """Read the splits. Raises: UserError if they are not there or are not what they should be."""

    def setup(self, stage: str | None = None) -> None:
        """Load the images, once."""
        self._splits = self._splits or by_content(self.load(), "validation", "test")

    @property
    def splits(self) -> Splits:
        """The loaded splits."""
        self.setup()
        assert self._splits is not None
        return self._splits

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.splits.images["train"].shape
        return channels, height, width

    @property
    def is_binary(self) -> bool:
        """Whether every pixel the model sees is 0 or 1."""
        return self.binarize != "none"

    def size(self, split: Split) -> int:
        """Number of images."""
        return len(self.splits.images[split])

    def factors(self, split: Split) -> Tensor | None:
        """What each image was made from: int64 (N, K), the index of each factor's value; None where it is not known."""
        return self.splits.factors.get(split)

    def images(self, split: Split) -> Tensor:
        """Images (N, C, H, W) as a model is shown them (of dynamic binarization, one fixed draw)."""
        generator = torch.Generator().manual_seed(BINARIZATION_SEED[split])
        return observe(self.splits.images[split], self.binarize, generator)

    def expected_images(self, split: Split) -> Tensor:
        """Images (N, C, H, W) averaged over the noise of binarization: what a decoder's mean image estimates."""
        return observe(self.splits.images[split], self.binarize_expected, None)

    @property
    def binarize_expected(self) -> str:
        """Binarization without its noise."""
        return "none" if self.binarize == "dynamic" else self.binarize

    def state_dict(self) -> dict[str, Any]:
        """How many epochs' batches have been drawn, for the checkpoint."""
        assert self.trainer is not None
        return {"epochs": self.trainer.current_epoch + 1}  # it is made at the end of one

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the batches of the epoch after these."""
        self._epochs = state_dict["epochs"]

    def train_dataloader(self) -> "Batches":
        """Shuffled training batches, as the trainer's model is to be shown them."""
        return self._batches("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> "Batches":
        """Validation batches, in order."""
        return self._batches("validation", 1000, shuffle=False)

    def _batches(self, split: Split, batch_size: int, *, shuffle: bool) -> "Batches":
        assert self.trainer is not None
        images = self.splits.images[split].to(self.trainer.strategy.root_device)
        noisy = self.trainer.lightning_module.models_pixels
        return Batches(
            images,
            binarize=self.binarize if noisy else self.binarize_expected,
            batch_size=batch_size,
            seed=self.seed if shuffle else BINARIZATION_SEED[split],
            shuffle=shuffle,
            epoch=self._epochs,
        )


class Batches:
    """Batches of a uint8 tensor, cut by index where the tensor lies: no work per sample, no workers.

    Shuffled batches differ from epoch to epoch and are the same for the same seed and epoch.
    epoch: which one the first pass is, of a training that goes on.
    """

    def __init__(
        self, images: Tensor, *, binarize: str, batch_size: int, seed: int, shuffle: bool, epoch: int = 0
    ) -> None:
        self.images = images
        self.binarize = binarize
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator(self.images.device)
        generator.manual_seed(self.seed * 1_000_003 + self.epoch if self.shuffle else self.seed)
        self.epoch += 1
        n = len(self.images)
        draw = torch.randperm(n, generator=generator, device=self.images.device) if self.shuffle else None
        for start in range(0, n, self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield observe(self.images[chosen if draw is None else draw[chosen]], self.binarize, generator)


def observe(images: Tensor, binarize: str, generator: torch.Generator | None) -> Tensor:
    """uint8 images as floats in [0, 1], binarized as asked."""
    grey = images.float().div_(255)
    if binarize == "threshold":
        return (grey >= 0.5).float()
    return torch.bernoulli(grey, generator=generator) if binarize == "dynamic" else grey
