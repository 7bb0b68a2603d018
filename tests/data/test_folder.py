"""A folder of images, or an archive of one, gives the same splits everywhere, and says what it left out."""

import errno
import inspect
import io
import logging
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from own_images import SMALL, encoded, folder_data, noise, some_files, write_files

from latentbench.contracts.images import SPLITS
from latentbench.contracts.options import part_of
from latentbench.data import image_cache
from latentbench.data.base import ImageData
from latentbench.data.large_published import LargePublishedImages
from latentbench.data.own_images import OwnImages
from latentbench.errors import UserError
from tiny_runs import run_tiny, tiny_job

CIFAR = Path(os.environ.get("LATENTBENCH_DATA", "/none")) / "cifar10-jpeg" / "cifar10-jpeg.zip"


def sizes(data: ImageData) -> tuple[int, ...]:
    return tuple(data.size(split) for split in SPLITS)


def images_of(data: ImageData) -> list[torch.Tensor]:
    return [data.splits.images[split].clone() for split in SPLITS]


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    return target


def tarred(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w:gz" if target.suffix == ".tgz" else "w") as archive:
        archive.add(folder, ".")
    return target


def test_a_split_is_drawn_once_for_all_seeds_and_misses_no_image(tmp_path: Path) -> None:
    files = some_files("cat/") | some_files("dog/", n=20, first=100)
    root = write_files(tmp_path / "pics", files)
    data = folder_data(root, fractions={"validation": 0.2, "test": 0.1})
    assert sizes(data) == (35, 10, 5)
    assert data.shape == (3, 8, 8)
    other = folder_data(root, fractions={"validation": 0.2, "test": 0.1}, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(images_of(data), images_of(other), strict=True))
    assert {image.numpy().tobytes() for split in images_of(data) for image in split} == {
        np.ascontiguousarray(noise(8, 8, 3, seed=seed).transpose(2, 0, 1)).tobytes()
        for seed in (*range(30), *range(100, 120))
    }
    labels = torch.cat([data.splits.labels[split] for split in SPLITS])
    assert labels.bincount().tolist() == [30, 20]
    assert data.facts()["classes"] == ["cat", "dog"]
    redrawn = folder_data(root, fractions={"validation": 0.2, "test": 0.1}, split_seed=1)
    assert not torch.equal(images_of(data)[2], images_of(redrawn)[2])


def test_an_archive_gives_what_its_folder_gives_and_writes_nothing_beside_itself(tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", some_files("a/", n=15) | some_files("b/", n=15, first=50))
    expected = images_of(folder_data(root))
    (tmp_path / "archives").mkdir()
    zipped(root, tmp_path / "archives" / "pics.zip")
    zipped(tmp_path, tmp_path / "around.zip")  # with the folder pics around it
    tarred(root, tmp_path / "archives" / "pics.tar")
    tarred(root, tmp_path / "archives" / "pics.tgz")
    for name in ("pics.zip", "pics.tar", "pics.tgz"):
        found = images_of(folder_data(tmp_path / "archives" / name))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), name
    assert len(os.listdir(tmp_path / "archives")) == 3


def test_folders_of_splits_are_the_splits_and_one_that_is_missing_is_drawn_from_train(tmp_path: Path) -> None:
    files = some_files("set/train/cat/") | some_files("set/test/cat/", n=6, first=40)
    root = write_files(tmp_path / "pics", files)
    data = folder_data(root)
    assert sizes(data) == (27, 3, 6)
    held_out = {image.numpy().tobytes() for image in data.splits.images["test"]}
    assert held_out == {noise(8, 8, 3, seed=40 + i).transpose(2, 0, 1).tobytes() for i in range(6)}
    write_files(root, some_files("set/val/cat/", n=5, first=80))
    assert sizes(folder_data(root)) == (30, 5, 6)
    write_files(root, some_files("set/more/", n=1, first=90))
    with pytest.raises(UserError, match=r"set/more/000\.png lies in none of dev, test, testing, train, "):
        folder_data(root).setup()


@pytest.mark.parametrize("name", ["valid", "Val", "dev", "VALIDATION"])
def test_folders_of_splits_go_by_several_names(name: str, tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", some_files("Train/cat/") | some_files(f"{name}/cat/", n=5, first=40))
    data = folder_data(root)
    assert sizes(data)[1] == 5
    assert data.facts()["classes"] == ["cat"]


def test_a_single_folder_with_the_name_of_a_split_is_a_class(tmp_path: Path) -> None:
    data = folder_data(write_files(tmp_path / "pics", some_files("car/") | some_files("train/", first=40)))
    data.setup()
    assert data.facts()["classes"] == ["car", "train"]


def test_splits_without_images_to_train_on_are_refused(tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", some_files("val/cat/") | some_files("test/cat/", first=40))
    with pytest.raises(UserError, match="it has test/, val/ and no train/: add it"):
        folder_data(root).setup()


def test_classes_and_a_limit_choose_images(tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", some_files("cat/") | some_files("dog/", n=20, first=100))
    data = folder_data(root, classes=["dog"], limit=15)
    assert sum(sizes(data)) == 15
    assert data.facts()["classes"] == ["dog"]
    more = folder_data(root, classes=["dog"], limit=18)
    kept, of_more = ({i.numpy().tobytes() for split in images_of(d) for i in split} for d in (data, more))
    assert kept < of_more, "a larger limit adds images"
    with pytest.raises(UserError, match=r"data\.classes: there is no horse; the classes are cat, dog"):
        folder_data(root, classes=["horse"]).setup()


def test_images_are_grey_if_all_files_are_and_colour_otherwise(tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", {f"{i}.png": encoded(noise(8, 8, seed=i)) for i in range(20)})
    assert folder_data(root).shape == (1, 8, 8)
    assert folder_data(root, channels=3).shape == (3, 8, 8)
    write_files(root, some_files("", n=1))
    assert folder_data(root).shape == (3, 8, 8)
    assert folder_data(root, channels=1).shape == (1, 8, 8)


def test_mixed_sizes_need_a_size_which_may_be_odd_and_not_square(tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", some_files(n=15) | some_files("b", n=1, side=10))
    with pytest.raises(UserError, match=r"others have .*: set data\.size, such as data\.size=64"):
        folder_data(root).setup()
    assert folder_data(root, size=6).shape == (3, 6, 6)
    assert folder_data(root, size=[5, 7], crop="none").shape == (3, 5, 7)
    with pytest.raises(UserError, match=r"\.png: data\.crop=9: the image has 8x8 pixels"):
        folder_data(root, crop=9).setup()


def test_broken_files_are_named_and_counted_and_refused_above_a_share(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = some_files(n=29)
    root = write_files(tmp_path / "pics", {**files, "cut.png": files["000.png"][:60], "notes.txt": b"no image"})
    with pytest.raises(UserError, match=r"1 of 30 files are broken: cut\.png \(.*\); repair or remove them"):
        folder_data(root).setup()
    for _ in range(2):  # read from the files, and from the cache
        data = folder_data(root, max_broken=0.05)
        with caplog.at_level(logging.WARNING):
            data.setup()
        assert "1 of 30 files are broken: cut.png" in caplog.text
        caplog.clear()
        assert sum(sizes(data)) == 29
        assert list(data.facts()["broken_files"]) == ["cut.png"]
    with pytest.raises(UserError, match=r"no image can be read; b\.png \(no image\)"):
        folder_data(
            write_files(tmp_path / "all", {"cut.png": b"x", "b.png": b"", "c.png": b"y"}),
            fractions={"validation": 0.3, "test": 0.3},
        ).setup()


def test_a_damaged_file_in_an_archive_is_a_broken_file(tmp_path: Path) -> None:
    files = some_files(n=29)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in {"damaged.png": b"0123456789", **files}.items():
            archive.writestr(name, content)
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes().replace(b"0123456789", b"0123456788"))
    data = folder_data(tmp_path / "x.zip", max_broken=0.05)
    assert sum(sizes(data)) == 29
    assert "CRC" in data.facts()["broken_files"]["damaged.png"]


def truncated_zip(folder: Path) -> Path:
    path = zipped(write_files(folder / "pics", some_files()), folder / "pics.zip")
    path.write_bytes(path.read_bytes()[:-100])
    return path


def truncated_tar(folder: Path) -> Path:
    path = tarred(write_files(folder / "pics", some_files()), folder / "pics.tar")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole.rstrip(b"\0")) // 1024 * 512])
    return path


def truncated_tgz(folder: Path) -> Path:
    path = tarred(write_files(folder / "pics", some_files()), folder / "pics.tgz")
    path.write_bytes(path.read_bytes()[:-500])
    return path


def zip_outside(folder: Path) -> Path:
    path = folder / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in some_files().items():
            archive.writestr(f"../{name}", content)
    return path


def tar_outside(folder: Path) -> Path:
    path = folder / "bad.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("/etc/a.png")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    return path


def encrypted(folder: Path) -> Path:
    path = zipped(write_files(folder / "pics", some_files()), folder / "pics.zip")
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda folder: folder / "none", "there is nothing at this path"),
        (lambda folder: write_files(folder, {}), r"it has no images \(\.png, .*\), but no file at all"),
        (
            lambda folder: write_files(folder, {"train/a.png": b"", "val/notes.txt": b""}),
            "val/ has no images: put some there, or remove it",
        ),
        (lambda folder: write_files(folder, {"a.gif": b"", "b.gif": b""}), r"no images \(.*\), but 2 \.gif"),
        (lambda folder: write_files(folder, {"a.rar": b""}) / "a.rar", r"give a folder, a \.zip or a \.tar"),
        (truncated_zip, "is truncated, damaged or encrypted"),
        (truncated_tar, "is truncated, damaged or encrypted"),
        (truncated_tgz, "is truncated, damaged or encrypted"),
        (encrypted, "is truncated, damaged or encrypted"),
        (zip_outside, r"it has a file outside of itself, \.\./000\.png"),
        (tar_outside, r"it has a file outside of itself, /etc/a\.png"),
        (lambda folder: write_files(folder, some_files(n=5)), "of 5 images none is left for validation"),
    ],
)
def test_what_cannot_be_used_gives_one_line_and_leaves_nothing(make: object, line: str, tmp_path: Path) -> None:
    root = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(UserError, match=line) as raised:
        folder_data(root).setup()
    assert "\n" not in str(raised.value)
    if image_cache.folder().exists():
        assert not list(image_cache.folder().glob("*.partial"))


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    for setting, value in {
        "crop": "left",
        "background": "red",
        "channels": 2,
        "size": 0,
        "limit": 1,
        "max_broken": 2,
        "split_seed": -1,
        "fractions": {"validation": 0.5, "test": 0.5},
    }.items():
        with pytest.raises(UserError, match=rf"^data\.{setting}"):
            folder_data(Path("x"), **{setting: value})
    with pytest.raises(UserError, match=r"data\.batch_size=64: there are 24 training images; take 24 or fewer"):
        folder_data(write_files(tmp_path, some_files()), batch_size=64).setup()
    with pytest.raises(UserError, match=r"data\.root is not set"):
        part_of("data", "folder", seed=0).setup()


def test_a_full_disk_is_told_before_and_while_it_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_files(tmp_path / "pics", some_files(side=9))
    before = set(image_cache.folder().glob("*/")) if image_cache.folder().exists() else set()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(
            UserError, match=r"has .* GiB free, of which .* GiB are needed for decoded images: make room"
        ):
            folder_data(root).setup()

    def full(self: object, image: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(image_cache.ImageWriter, "append", full)
        with pytest.raises(UserError, match=r"GiB free for decoded images: make room, choose another cache by XDG"):
            folder_data(root).setup()
    assert {path for path in image_cache.folder().glob("*/")} == before, "nothing is half-written"
    assert sum(sizes(folder_data(root))) == 30


def test_files_are_decoded_once_and_again_if_the_cached_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_files(tmp_path / "pics", some_files())
    first = folder_data(root)
    expected = images_of(first)
    shutil.copytree(root, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr("latentbench.data.folder.decode", None)
        images_of(folder_data(tmp_path / "copy", batch_size=3))
    path = first.splits.images.path  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:-1])
    assert all(torch.equal(a, b) for a, b in zip(images_of(folder_data(root)), expected, strict=True))


def test_a_run_on_a_folder_is_named_by_its_images_and_records_them(tmp_path: Path) -> None:
    root = write_files(tmp_path / "pics", some_files(n=40))
    words = ("data=folder", "data.batch_size=8", "features=random", "metric=[fid]", "sampler=[prior]", "method=vae")
    folder = run_tiny(tmp_path / "out", *words, f"data.root={root}")
    record = (folder / "record.json").read_text()
    assert '"broken_files": {}' in record
    assert str(tiny_job(tmp_path, *words).config.data.root) == "None"


@pytest.mark.skipif(not CIFAR.is_file(), reason="$LATENTBENCH_DATA has no cifar10-jpeg/cifar10-jpeg.zip")
def test_dogs_of_a_real_archive(tmp_path: Path) -> None:
    data = folder_data(CIFAR, classes=["dog"], limit=60)
    assert data.shape == (3, 32, 32)
    assert sum(sizes(data)) == 60
    assert data.facts()["broken_files"] == {}
    spread = data.expected_images("train").std(0)
    assert 0.1 < spread.mean() < 0.4, "photographs of many dogs"


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("folder", {"size": 9, "crop": "none", "channels": 1, "background": "black", "classes": ["a"]}),
        ("arrays", {"images": dict.fromkeys(SPLITS, "x"), "labels": dict.fromkeys(SPLITS, "y"), "layout": "nchw"}),
        ("celeba", {"size": 9, "crop": 9}),
    ],
)
def test_every_setting_that_decides_what_is_decoded_is_part_of_the_name_of_the_cache(
    option: str, settings: dict[str, object]
) -> None:
    usual = part_of("data", option, **SMALL)
    assert isinstance(usual, OwnImages | LargePublishedImages)
    own, of_all = (inspect.signature(kind).parameters.keys() for kind in (type(usual), type(usual).__base__))
    assert own - of_all == settings.keys()
    for key, value in settings.items():
        other = part_of("data", option, **SMALL | {key: value})
        assert [name for name in settings if other.settings()[name] != usual.settings()[name]] == [key]
