"""Arrays of numpy are read as what their shapes, types and names say, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import arrays_data, noise, npy

from latentbench.contracts.images import SPLITS
from latentbench.errors import UserError

COLOUR, GREY = noise(30, 6, 5, 3), noise(30, 6, 5)


def npz(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(folder / "x.npz", **arrays)
    return folder / "x.npz"


def all_images(data: Any) -> list[bytes]:
    return sorted(image.numpy().tobytes() for split in SPLITS for image in data.splits.images[split])


@pytest.mark.parametrize(
    "array",
    [COLOUR, COLOUR.transpose(0, 3, 1, 2).copy(), GREY, GREY[..., None], COLOUR / 255, (COLOUR / 255).astype("f4")],
    ids=["nhwc", "nchw", "nhw", "nhw1", "floats", "single"],
)
def test_every_order_of_axes_and_type_gives_the_same_images(array: np.ndarray, tmp_path: Path) -> None:
    expected = GREY[:, None] if array.shape[-1] in (5, 1) and array.shape[1] != 3 else COLOUR.transpose(0, 3, 1, 2)
    for path in (npy(tmp_path, array), npz(tmp_path, anything=array)):
        data = arrays_data(path)
        assert [data.size(split) for split in SPLITS] == [24, 3, 3]
        assert all_images(data) == sorted(image.tobytes() for image in expected)


def test_the_name_of_a_file_changes_no_split(tmp_path: Path) -> None:
    path = npy(tmp_path, COLOUR)
    before: Any = arrays_data(path)
    entries = before.entries()
    after: Any = arrays_data(path.rename(tmp_path / "another.npy"))
    assert after.entries() == entries, "images are drawn by their names"


def test_splits_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 4x4 pixels, others have 5x6: give images of one size"):
        arrays_data(npz(tmp_path, train=GREY, test=noise(8, 4, 4))).setup()


def test_black_and_white_is_0_and_255(tmp_path: Path) -> None:
    data = arrays_data(npy(tmp_path, GREY > 127))
    assert set(b"".join(all_images(data))) == {0, 255}


def test_named_arrays_are_the_splits_and_one_that_is_missing_is_drawn_from_train(tmp_path: Path) -> None:
    labels, test_labels = np.arange(30) % 3, np.ones(8, np.uint8)
    path = npz(tmp_path, x_train=COLOUR, y_train=labels, x_test=noise(8, 6, 5, 3, seed=1), y_test=test_labels)
    data = arrays_data(path)
    assert [data.size(split) for split in SPLITS] == [27, 3, 8]
    assert torch.cat([data.splits.labels[s] for s in SPLITS[:2]]).bincount().tolist() == [10, 10, 10]
    assert data.splits.labels["test"].tolist() == [1] * 8
    of_image = {image.tobytes(): label for image, label in zip(COLOUR.transpose(0, 3, 1, 2), labels, strict=True)}
    for image, label in zip(data.splits.images["train"].numpy(), data.splits.labels["train"].tolist(), strict=True):
        assert of_image[image.tobytes()] == label
    own = npz(tmp_path, a=COLOUR, b=noise(7, 6, 5, 3, seed=2), c=noise(8, 6, 5, 3, seed=1))
    named = arrays_data(own, images={"train": "a", "validation": "b", "test": "c"})
    assert [named.size(split) for split in SPLITS] == [30, 7, 8]
    with pytest.raises(UserError, match=r"name the array of the training images, .*, one of a, b, c"):
        arrays_data(own).setup()
    with pytest.raises(UserError, match=r"data\.images\.train=z: the arrays of .* are a, b, c"):
        arrays_data(own, images={"train": "z", "validation": None, "test": None}).setup()


def test_a_limit_keeps_some_images(tmp_path: Path) -> None:
    data = arrays_data(npy(tmp_path, COLOUR), limit=20)
    assert [data.size(split) for split in SPLITS] == [16, 2, 2]


def with_nan(array: np.ndarray) -> np.ndarray:
    changed = array / 255
    changed[3, 2, 2] = np.nan
    return changed


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (with_nan(COLOUR), "have pixels that are NaN or infinite"),
        (COLOUR.astype("f4"), r"have floats from 0 to 255: give floats in \[0, 1\], or uint8"),
        (COLOUR.astype(np.int64), r"type int64: give uint8, or floats in \[0, 1\]"),
        (COLOUR[:, :3].copy(), r"\(30, 3, 5, 3\), which may be nhwc or nchw: set data\.layout"),
        (
            noise(30, 6, 5, 4),
            r"\(30, 6, 5, 4\): give N H W, N H W C or N C H W with one or three channels, or set data\.layout",
        ),
        (noise(30, 64), r"\(30, 64\): give N H W"),
        (np.asfortranarray(COLOUR), "is in Fortran's order: save np.ascontiguousarray of it"),
        (np.array([{}] * 30, dtype=object), "holds Python objects, which are never loaded"),
        (COLOUR[:2], "of 2 images none is left for validation"),
    ],
)
def test_what_cannot_be_used_gives_one_line(array: np.ndarray, line: str, tmp_path: Path) -> None:
    for path in (npy(tmp_path, array), npz(tmp_path, x_train=array)):
        with pytest.raises(UserError, match=line) as raised:
            arrays_data(path).setup()
        assert "\n" not in str(raised.value)


def test_axes_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    path = npy(tmp_path, COLOUR[:, :3].copy())
    assert arrays_data(path, layout="nhwc").shape == (3, 3, 5)
    assert arrays_data(path, layout="nchw").shape == (3, 5, 3)


def test_a_layout_that_is_set_may_have_any_number_of_channels(tmp_path: Path) -> None:
    assert arrays_data(npy(tmp_path, noise(30, 6, 5, 4)), layout="nhwc").shape == (4, 6, 5)
    assert arrays_data(npy(tmp_path, noise(30, 2, 6, 5)), layout="nchw").shape == (2, 6, 5)


def test_a_file_that_is_cut_and_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for path in (npy(tmp_path, COLOUR), npz(tmp_path, x_train=COLOUR)):
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(UserError, match="is truncated or damaged"):
            arrays_data(path).setup()
    for labels in (np.zeros(29, int), np.full(30, -1), np.full(30, 0.5), np.zeros((30, 10), int)):
        with pytest.raises(UserError, match="y_train must have a whole number, 0 or more, for each of 30 images"):
            arrays_data(npz(tmp_path, x_train=COLOUR, y_train=labels)).setup()
    for path in (tmp_path, tmp_path / "x.txt"):
        (tmp_path / "x.txt").write_text("")
        with pytest.raises(UserError, match=r"give an \.npy or an \.npz"):
            arrays_data(path).setup()
