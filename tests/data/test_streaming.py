"""Images that stay in their file give the same batches and numbers as images in memory."""

from pathlib import Path

import pytest
import torch
from own_images import arrays_data, noise, npy

from latentbench.contracts.images import SPLITS, GivenImages, shown_to_trainer
from latentbench.data import streaming
from latentbench.data.base import ImageData, Splits
from latentbench.data.streaming import MappedImages, StreamedImages, parts


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageData:
    """Images in a file, of which a part is a few images."""
    monkeypatch.setattr(streaming, "PART_BYTES", 10 * 3 * 6 * 5)
    return shown_to_trainer(arrays_data(npy(tmp_path, noise(130, 6, 5, 3)), binarize="dynamic"))


def in_memory(data: ImageData) -> ImageData:
    splits = Splits({split: data.splits.images[split].clone() for split in SPLITS}, data.splits.labels)
    copy = GivenImages(splits, name="copy", binarize="dynamic", seed=data.seed)
    copy.batch_size = data.batch_size
    return shown_to_trainer(copy)


def test_batches_of_a_file_are_those_of_memory(mapped: ImageData) -> None:
    assert isinstance(mapped.splits.images, MappedImages)
    copy = in_memory(mapped)
    for streams, resident in (
        (mapped.train_batches(), copy.train_batches()),
        (mapped.val_dataloader(), copy.val_dataloader()),
    ):
        assert isinstance(streams.images, StreamedImages)
        assert isinstance(resident.images, torch.Tensor)
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(streams, resident, strict=True))


def test_batches_read_ahead_for_a_gpu_are_the_same(mapped: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    images = mapped.train_batches().images
    assert isinstance(images, StreamedImages)
    order = torch.randperm(len(images)).split(4)
    expected = list(images.cut(order))
    monkeypatch.setattr(
        StreamedImages, "_buffer", lambda self, index, pin_memory: torch.empty(len(index), 3, 6, 5).byte()
    )
    assert all(torch.equal(a, b) for a, b in zip(images.cut_ahead(order), expected, strict=True))
    few = images.cut_ahead(order)
    next(few)
    few.close()  # as a limit on batches does


def test_chunks_are_the_images_that_a_model_sees(mapped: ImageData) -> None:
    assert torch.equal(torch.cat(list(mapped.chunks("train", 17))), mapped.images("train"))
    assert torch.equal(mapped.expected_images("train", slice(3, 9)), mapped.expected_images("train")[3:9])


def test_parts_of_a_split_are_all_of_it(mapped: ImageData) -> None:
    found = list(parts(mapped.splits.images, "train"))
    assert len(found) > 3
    assert torch.equal(torch.cat(found), mapped.splits.images["train"])
