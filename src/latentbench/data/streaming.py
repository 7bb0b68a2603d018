"""Images that lie in a file: mapped into memory where they are looked at, and cut into batches by index."""

import itertools
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PART_BYTES = 2**24  # of images that are looked at one after another
SHARE_OF_DEVICE = 0.5  # images stay on a GPU if they take no more of its free memory
AHEAD = 4  # batches that are read before a GPU needs them


class MappedImages(Mapping[Split, Tensor]):
    """The images of each split, uint8 (N, C, H, W), in one file, split after split.

    Whenever a split is asked for, the file is mapped into memory anew: what was read of it is free again as soon as the
    tensor is gone. Nothing can be written into the tensors. Images here and there are for `read`: each of them would
    bring a large piece of a mapped file into memory.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], sizes: Mapping[Split, int]) -> None:
        self.path = path
        self.shape = shape
        self.sizes = dict(sizes)
        with warnings.catch_warnings():  # torch warns once in a process of arrays that cannot be written
            warnings.simplefilter("ignore")
            torch.from_numpy(np.frombuffer(b"0", np.uint8))

    def __getitem__(self, split: Split) -> Tensor:
        rows = (self.sizes[split], *self.shape)
        return torch.from_numpy(np.memmap(self.path, np.uint8, "r", self._start(split), rows))

    def read(self, split: Split, index: Tensor, out: Tensor) -> None:
        """Read the images of an index (B,) into a tensor (B, C, H, W). Raises: OSError if the file ends before."""
        start, size = self._start(split), math.prod(self.shape)
        with self.path.open("rb", buffering=0) as file:
            for number, image in zip(index.tolist(), out.numpy(), strict=True):
                if os.preadv(file.fileno(), [image], start + number * size) != size:
                    raise OSError(f"{self.path} has been cut")

    def _start(self, split: Split) -> int:
        before = itertools.takewhile(lambda other: other != split, self.sizes)
        return sum(self.sizes[other] for other in before) * math.prod(self.shape)

    def __iter__(self) -> Iterator[Split]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


def parts(images: Mapping[Split, Tensor], split: Split) -> Iterator[Tensor]:
    """The images of a split, some after others, of which no more than a few are in memory if they are mapped."""
    n = len(images[split])
    size = max(1, PART_BYTES // max(1, images[split][:1].numel()))
    for start in range(0, n, size):
        yield images[split][start : start + size]


class StreamedImages:
    """Images that stay in memory or in their file: each batch is read by index and sent to a device.

    To a GPU batches go from pinned memory, and the next ones are read meanwhile.
    read: puts the images of an index (B,) into a tensor (B, C, H, W)
    shape: (N, C, H, W) of all images
    """

    def __init__(self, read: Callable[[Tensor, Tensor], object], shape: tuple[int, ...], device: torch.device) -> None:
        self.read = read
        self.shape = shape
        self.device = device

    def __len__(self) -> int:
        return self.shape[0]

    def cut(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The images of each index (B,), on the device."""
        if self.device.type == "cuda":
            yield from self.cut_ahead(indices)
            return
        for index in indices:
            yield self._rows(index, self._buffer(index, pin_memory=False)).to(self.device)

    def cut_ahead(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same, read by another thread before they are needed."""
        with ThreadPoolExecutor(1) as reader:
            waiting: deque[Future[Tensor]] = deque()
            for index in indices:
                # Memory is pinned here: a call to CUDA from another thread would break a graph that is being recorded.
                waiting.append(reader.submit(self._rows, index, self._buffer(index, pin_memory=True)))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result().to(self.device, non_blocking=True)
            for rows in waiting:
                yield rows.result().to(self.device, non_blocking=True)

    def _buffer(self, index: Tensor, *, pin_memory: bool) -> Tensor:
        return torch.empty((len(index), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin_memory)

    def _rows(self, index: Tensor, out: Tensor) -> Tensor:
        self.read(index, out)
        return out


def place(images: Mapping[Split, Tensor], split: Split, device: torch.device) -> Tensor | StreamedImages:
    """The images of a split on the device if they fit there, else read batch by batch.

    A GPU holds those that take at most half of its free memory. For a processor, mapped images stay in their file.
    """
    whole = images[split]
    if device.type == "cuda":
        streams = whole.numel() > SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]
    else:
        streams = isinstance(images, MappedImages)
    if streams:
        read = partial(images.read, split) if isinstance(images, MappedImages) else partial(_select, whole)
        return StreamedImages(read, tuple(whole.shape), device)
    if not isinstance(images, MappedImages):
        return whole.to(device)
    resident, start = torch.empty(whole.shape, dtype=torch.uint8, device=device), 0
    for part in parts(images, split):
        resident[start : start + len(part)] = part.to(device)
        start += len(part)
    return resident


def _select(images: Tensor, index: Tensor, out: Tensor) -> None:
    torch.index_select(images, 0, index, out=out)
