"""Data sets of the Hugging Face Hub: splits, columns and sizes of a saved one, and what is said where there is none."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from latentbench.contracts.images import SPLITS
from latentbench.contracts.options import node_of
from latentbench.data.base import ImageData
from latentbench.errors import UserError
from latentbench.evaluation.build import build
from latentbench.records.outside import outside_digests

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()
RNG = np.random.default_rng(0)


def png(pixels: np.ndarray) -> dict[str, Any]:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return {"bytes": written.getvalue(), "path": None}


def saved(images: list[np.ndarray], **columns: Any) -> Any:
    """Images with class labels 0, 1, 0, 1, ... and further columns."""
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    content = {"picture": [png(image) for image in images], "kind": [i % 2 for i in range(len(images))]}
    features |= {name: datasets.Value("int64") for name in columns}
    return datasets.Dataset.from_dict(content | columns, features=datasets.Features(features))


def data_of(path: Path | str | None, **settings: Any) -> ImageData:
    given = None if path is None else str(path)
    made: ImageData = build(node_of("data", "huggingface"), seed=0, path=given, **settings)
    return made


def photographs(n: int, *size: int) -> list[np.ndarray]:
    return list(RNG.integers(0, 256, (n, *(size or (6, 6, 3))), dtype=np.uint8))


def found_in(data: ImageData, split: str) -> list[tuple[bytes, int]]:
    images, labels = data.splits.images[split], data.splits.labels[split]  # type: ignore[index]
    return sorted((i.numpy().tobytes(), int(n)) for i, n in zip(images, labels, strict=True))


def given(images: list[np.ndarray]) -> list[tuple[bytes, int]]:
    return sorted((image.transpose(2, 0, 1).tobytes(), i % 2) for i, image in enumerate(images))


def test_the_splits_of_a_saved_data_set_are_its_own(tmp_path: Path) -> None:
    parts = {"train": photographs(6), "valid": photographs(4), "test": photographs(3), "extra": photographs(2)}
    datasets.DatasetDict({name: saved(images) for name, images in parts.items()}).save_to_disk(tmp_path / "pets")
    data = data_of(tmp_path / "pets")
    for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
        assert found_in(data, split) == given(parts[name])


def test_splits_that_are_not_there_are_drawn_from_training_images_for_good(tmp_path: Path) -> None:
    images = photographs(20)
    saved(images).save_to_disk(tmp_path / "pets")
    one, same = data_of(tmp_path / "pets"), data_of(tmp_path / "pets")
    assert [one.size(split) for split in SPLITS] == [16, 2, 2]
    assert sorted(pair for split in SPLITS for pair in found_in(one, split)) == given(images)
    assert all(torch.equal(one.splits.images[split], same.splits.images[split]) for split in SPLITS)


def test_grey_images_have_one_channel_and_sizes_are_made_alike(tmp_path: Path) -> None:
    mixed = [np.full((6 + i, 9, 3), 10 * i, np.uint8) for i in range(1, 11)]
    saved(mixed).save_to_disk(tmp_path / "pets")
    with pytest.raises(UserError, match=r"image 1 of train has 9x8 pixels, others have 9x7: set data\.size"):
        data_of(tmp_path / "pets").setup()
    data = data_of(tmp_path / "pets", size=4)
    assert data.shape == (1, 4, 4)
    assert sorted({int(v) for split in SPLITS for v in data.splits.images[split].unique()}) == list(range(10, 101, 10))
    assert data_of(tmp_path / "pets", size=4, channels=3).shape == (3, 4, 4)


def test_columns_are_asked_for_where_they_cannot_be_told_apart(tmp_path: Path) -> None:
    table = saved(photographs(10), number=list(range(10))).add_column("other", [1] * 10)
    table = table.cast_column("other", datasets.ClassLabel(names=["a", "b"]))
    table.save_to_disk(tmp_path / "pets")
    with pytest.raises(UserError, match=r"set data\.label to one of kind, other$"):
        data_of(tmp_path / "pets").setup()
    data = data_of(tmp_path / "pets", label="number")
    assert sorted(n for split in SPLITS for n in data.splits.labels[split].tolist()) == list(range(10))
    with pytest.raises(UserError, match=r"data\.image=photo: the columns of .* are picture, kind, number, other$"):
        data_of(tmp_path / "pets", image="photo").setup()
    table.remove_columns(["kind", "other"]).save_to_disk(tmp_path / "bare")
    assert not data_of(tmp_path / "bare").splits.labels["train"].any()


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    content = {"picture": [png(image) for image in photographs(3)] + [{"bytes": b"no image", "path": None}]}
    table = datasets.Dataset.from_dict(content, features=datasets.Features({"picture": datasets.Image()}))
    table.save_to_disk(tmp_path / "pets")
    with pytest.raises(UserError, match=r"image 3 of train cannot be read \(UnidentifiedImageError: ") as caught:
        data_of(tmp_path / "pets").setup()
    assert "\n" not in str(caught.value)


def test_the_content_of_a_folder_is_part_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    node = node_of("data", "huggingface").copy()
    digests = []
    for seed in range(2):
        saved(photographs(10)).save_to_disk(f"pets_{seed}")
        node.path = f"pets_{seed}"
        digests.append(outside_digests(OmegaConf.create({"data": node}), ["data"])["data"])
    assert digests[0] != digests[1]


# What cannot be had


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (datasets.exceptions.DatasetNotFoundError("Dataset is gated.\nLog in."), "gated or private, ask for access"),
        (ConnectionError("Couldn't reach the Hub"), "the hub cannot be reached"),
        (ValueError("Config name is missing.\nPick one of a, b"), "cannot be read: Config name is missing. Pick one"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refused)
    with pytest.raises(UserError, match=words) as caught:
        data_of("somebody/pets").setup()
    assert "data.path=somebody/pets" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_of_the_hub_is_asked_for_with_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*names: Any, **settings: Any) -> Any:
        asked.append((names, settings))
        return datasets.DatasetDict({"train": saved(photographs(10))})

    monkeypatch.setattr(datasets, "load_dataset", load)
    data_of("somebody/pets", config="small", revision="0123abc").setup()
    assert asked == [(("somebody/pets", "small"), {"revision": "0123abc"})]


def test_a_folder_that_is_no_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.path={tmp_path} cannot be read: "):
        data_of(tmp_path).setup()


def test_a_data_set_without_training_images_is_said(tmp_path: Path) -> None:
    datasets.DatasetDict({"test": saved(photographs(3))}).save_to_disk(tmp_path / "pets")
    with pytest.raises(UserError, match=r"it has no split train, but test$"):
        data_of(tmp_path / "pets").setup()


def test_without_a_path_and_without_the_package_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^data\.path is not set: .*data\.path=<name>$"):
        data_of(None).setup()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'latentbench\[huggingface\]'$"):
        data_of("somebody/pets").setup()
