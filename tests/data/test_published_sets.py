"""Published data sets, each from small files in its official format."""

import gzip
import hashlib
import io
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from latentbench.contracts.images import SPLITS
from latentbench.contracts.options import node_of
from latentbench.data.base import ImageData, Splits
from latentbench.data.streaming import MappedImages
from latentbench.errors import UserError
from latentbench.evaluation.build import build

RNG = np.random.default_rng(0)
N_TRAIN, N_VALIDATION, N_TEST = 8, 2, 4
LABELS = np.array([0, 1] * 6)  # of training and test images
TRAIN, TEST = slice(0, N_TRAIN), slice(N_TRAIN, None)

Files = dict[str, bytes]


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def zipped(members: Files) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def tarred(members: Files) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def mat(content: dict[str, np.ndarray]) -> bytes:
    written = io.BytesIO()
    savemat(written, content)
    return written.getvalue()


# Of each set: its files, the images that are in them, as (N, C, H, W), their labels, and settings.


def emnist() -> tuple[Files, np.ndarray, np.ndarray, dict[str, Any]]:
    images, labels = pixels(12, 1, 28, 28), LABELS + 1  # letters count from 1
    members = {}
    for part, chosen in (("train", TRAIN), ("test", TEST)):
        name = f"gzip/emnist-letters-{part}"
        lying = images[chosen, 0].transpose(0, 2, 1)
        members[f"{name}-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(np.ascontiguousarray(lying)))
        members[f"{name}-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(labels[chosen].astype(np.uint8)))
    return {"gzip.zip": zipped(members)}, images, labels, {"split": "letters", "validation": N_VALIDATION}


def cifar10() -> tuple[Files, np.ndarray, np.ndarray, dict[str, Any]]:
    images = pixels(14, 3, 32, 32)
    labels = np.array([3, 7] * 7)
    records = [bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
    parts = {f"data_batch_{i + 1}": records[2 * i : 2 * i + 2] for i in range(5)} | {"test_batch": records[10:]}
    # Files of the archive come in another order than that of their numbers.
    members = {f"cifar-10-batches-bin/{name}.bin": b"".join(parts[name]) for name in sorted(parts, reverse=True)}
    members["cifar-10-batches-bin/readme.html"] = b"<html>"
    return {"cifar-10-binary.tar.gz": tarred(members)}, images, labels, {"validation": 4}


def cifar100() -> tuple[Files, np.ndarray, np.ndarray, dict[str, Any]]:
    images, labels = pixels(12, 3, 32, 32), LABELS + 90
    records = [bytes([4, label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
    members = {
        "cifar-100-binary/train.bin": b"".join(records[TRAIN]),
        "cifar-100-binary/test.bin": b"".join(records[TEST]),
    }
    return {"cifar-100-binary.tar.gz": tarred(members)}, images, labels, {"validation": N_VALIDATION}


def svhn() -> tuple[Files, np.ndarray, np.ndarray, dict[str, Any]]:
    images, written = pixels(12, 3, 32, 32), np.where(LABELS == 0, 10, 1).astype(np.uint8)
    files = {
        f"{part}_32x32.mat": mat({"X": images[chosen].transpose(2, 3, 1, 0), "y": written[chosen][:, None]})
        for part, chosen in (("train", TRAIN), ("test", TEST))
    }
    return files, images, LABELS, {"validation": N_VALIDATION}


def omniglot_28() -> tuple[Files, np.ndarray, np.ndarray, dict[str, Any]]:
    images = pixels(12, 1, 28, 28)
    columns = images[:, 0].transpose(0, 2, 1).reshape(12, 784).T / 255
    targets = np.eye(50)[LABELS].T
    content = {"data": columns[:, TRAIN], "target": targets[:, TRAIN]}
    content |= {"testdata": columns[:, TEST], "testtarget": targets[:, TEST]}
    return {"chardata.mat": mat(content)}, images, LABELS, {"validation": N_VALIDATION}


WITH_VALIDATION: dict[str, Callable[[], tuple[Files, np.ndarray, np.ndarray, dict[str, Any]]]] = {
    made.__name__: made for made in (emnist, cifar10, cifar100, svhn, omniglot_28)
}


def binarized_mnist() -> tuple[Files, dict[str, np.ndarray]]:
    images = {split: pixels(n, 1, 28, 28) & 1 for split, n in zip(SPLITS, (8, 2, 4), strict=True)}
    names = dict(zip(SPLITS, ("train", "valid", "test"), strict=True))
    files = {}
    for split, array in images.items():
        lines = [" ".join(map(str, image.ravel())) + "\n" for image in array]
        files[f"binarized_mnist_{names[split]}.amat"] = "".join(lines).encode()
    return files, images


def dsprites(n: int = 60) -> tuple[Files, np.ndarray, np.ndarray]:
    images = pixels(n, 64, 64) & 1
    factors = np.stack([np.zeros(n), np.arange(n) % 3, *RNG.integers(0, 6, (4, n))], axis=1).astype(np.int64)
    written = io.BytesIO()
    # Unpickling the description would end the test.
    np.savez_compressed(
        written, metadata=np.array(Trap(), object), imgs=images, latents_classes=factors, latents_values=factors * 0.5
    )
    return {"dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": written.getvalue()}, images, factors


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("unpickled",)


def celeba(n: int = 12) -> tuple[Files, list[np.ndarray]]:
    """Photographs of 218 rows and 178 columns, of one color each but for what is not to be seen."""
    faces, members, lines = [], {}, []
    for i in range(n):
        photograph = np.full((218, 178, 3), 255, np.uint8)
        photograph[39:179, 19:159] = faces_color = (i * 20, 250 - i * 20, 40)
        faces.append(np.array(faces_color))
        written = io.BytesIO()
        Image.fromarray(photograph).save(written, "JPEG", quality=100, subsampling=0)
        members[f"img_align_celeba/{i + 1:06}.jpg"] = written.getvalue()
        lines.append(f"{i + 1:06}.jpg {0 if i < 6 else 1 if i < 9 else 2}\n")
    shuffled = dict(sorted(members.items(), reverse=True))
    return {"img_align_celeba.zip": zipped(shuffled), "list_eval_partition.txt": "".join(lines).encode()}, faces


def shapes3d(folder: Path, n: int = 60) -> tuple[Files, np.ndarray, np.ndarray]:
    h5py = pytest.importorskip("h5py")
    images = pixels(n, 64, 64, 3)
    ranks = np.stack([*RNG.integers(0, 4, (4, n)), np.arange(n) % 4, RNG.integers(0, 4, n)], axis=1)
    ranks[:4] = np.arange(4)[:, None]  # no value is lacking
    with h5py.File(folder / "written.h5", "w") as file:
        file["images"], file["labels"] = images, ranks * 4.5 - 30
    return {"3dshapes.h5": (folder / "written.h5").read_bytes()}, images, ranks


def data_of(option: str, files: Files, root: Path, algorithm: str = "sha256", **settings: Any) -> ImageData:
    """The option with its files below a root, and their checksums."""
    folder = root / node_of("data", option).folder
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    checksums = {name: f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" for name, content in files.items()}
    assert set(checksums) == set(node_of("data", option).checksums)
    made: ImageData = build(node_of("data", option), seed=0, root=str(root), checksums=checksums, **settings)
    return made


def pairs(images: Any, numbers: Any) -> list[tuple[bytes, list[int]]]:
    """Each image with its numbers, in an order of their own."""
    return sorted((np.asarray(i).tobytes(), np.ravel(n).tolist()) for i, n in zip(images, numbers, strict=True))


def everything(splits: Splits, content: str) -> list[tuple[bytes, list[int]]]:
    """All images with their labels or factors."""
    numbers = getattr(splits, content)
    return sorted(pair for split in SPLITS for pair in pairs(splits.images[split], numbers[split]))


@pytest.mark.parametrize("option", WITH_VALIDATION)
def test_the_test_split_is_the_official_one_and_validation_is_taken_from_training(option: str, tmp_path: Path) -> None:
    files, images, labels, settings = WITH_VALIDATION[option]()
    data = data_of(option, files, tmp_path, **settings)
    n = settings["validation"]
    n_train = len(images) - N_TEST
    assert pairs(data.splits.images["test"], data.splits.labels["test"]) == pairs(images[n_train:], labels[n_train:])
    assert [data.size(split) for split in SPLITS] == [n_train - n, n, N_TEST]
    assert everything(data.splits, "labels") == pairs(images, labels)
    assert data.splits.labels["validation"].bincount().tolist()[-1] == n // 2, "stratified"


def test_static_mnist_has_its_three_official_splits_in_black_and_white(tmp_path: Path) -> None:
    files, images = binarized_mnist()
    data = data_of("static_mnist", files, tmp_path)
    for split in SPLITS:
        assert pairs(data.splits.images[split], data.splits.labels[split]) == pairs(
            images[split] * 255, np.zeros(len(images[split]), int)
        )
    assert data.is_binary


@pytest.mark.parametrize("chunk", [7, 60, 1000])
def test_dsprites_are_white_with_their_factors_and_nothing_is_unpickled(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.data.dsprites.CHUNK", chunk)
    files, images, factors = dsprites()
    data = data_of("dsprites", files, tmp_path, algorithm="md5")
    assert [data.size(split) for split in SPLITS] == [36, 12, 12]
    assert everything(data.splits, "factors") == pairs(images[:, None] * 255, factors[:, 1:])
    for split in SPLITS:
        assert torch.equal(data.splits.labels[split], data.splits.factors[split][:, 0])
        assert data.splits.labels[split].bincount().tolist() == [data.size(split) // 3] * 3
    with (
        pytest.raises(pytest.fail.Exception),
        np.load(tmp_path / "dsprites" / next(iter(files)), allow_pickle=True) as f,
    ):
        f["metadata"]


def test_shapes3d_have_the_ranks_of_their_factors(tmp_path: Path) -> None:
    files, images, ranks = shapes3d(tmp_path)
    data = data_of("shapes3d", files, tmp_path)
    assert [data.size(split) for split in SPLITS] == [36, 12, 12]
    assert everything(data.splits, "factors") == pairs(images.transpose(0, 3, 1, 2), ranks)
    assert torch.equal(data.splits.labels["test"], data.splits.factors["test"][:, data.factor_names.index("shape")])
    assert isinstance(data.splits.images, MappedImages)


def test_shapes3d_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"^data=shapes3d needs h5py: pip install 'latentbench\[shapes3d\]'$"):
        data_of("shapes3d", {"3dshapes.h5": b""}, tmp_path).setup()


@pytest.mark.parametrize("size", [8, 64])
def test_celeba_shows_the_middle_of_each_photograph_in_the_official_splits(size: int, tmp_path: Path) -> None:
    files, faces = celeba()
    data = data_of("celeba", files, tmp_path, size=size)
    assert data.shape == (3, size, size)
    for split, numbers in zip(SPLITS, (range(6), range(6, 9), range(9, 12)), strict=True):
        found = sorted(data.splits.images[split].double().mean((2, 3)).tolist())
        np.testing.assert_allclose(found, sorted(faces[i].tolist() for i in numbers), atol=2)
        spread = data.splits.images[split].double().std((2, 3))[..., None] if size == 64 else torch.zeros(1)
        assert spread.max() < 3, "nothing of the white border is seen"
        assert not data.splits.labels[split].any()


# What is said where files are missing or wrong

FILES = {option: list(node_of("data", option).checksums) for option in (*WITH_VALIDATION, "static_mnist", "celeba")}
FILES |= {option: list(node_of("data", option).checksums) for option in ("dsprites", "shapes3d")}


@pytest.mark.parametrize("option", FILES)
def test_a_file_that_is_not_the_published_one_is_named(option: str, tmp_path: Path) -> None:
    if option == "shapes3d":
        pytest.importorskip("h5py")
    folder = tmp_path / node_of("data", option).folder
    folder.mkdir()
    for name in FILES[option]:
        (folder / name).write_bytes(pickle.dumps("truncated"))
    with pytest.raises(UserError) as caught:
        build(node_of("data", option), seed=0, root=str(tmp_path)).setup()
    message = str(caught.value)
    assert str(folder / FILES[option][0]) in message
    assert "is not the published file" in message
    assert "fetch it again" in message
    assert "\n" not in message


@pytest.mark.parametrize("option", FILES)
def test_without_files_and_without_a_network_it_is_said_where_they_belong(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no downloads in tests")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(UserError) as caught:
        build(node_of("data", option), seed=0, root=str(tmp_path)).setup()
    message = str(caught.value)
    for words in (f"data={node_of('data', option).name}: no ", *FILES[option], "data.root=", "LATENTBENCH_DATA="):
        assert words in message
    assert ("the download failed" in message) == (option != "celeba")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_split_of_emnist_is_said() -> None:
    with pytest.raises(UserError, match=r"^data\.split=letter: choose one of balanced, .*, mnist$"):
        build(node_of("data", "emnist"), seed=0, split="letter")
