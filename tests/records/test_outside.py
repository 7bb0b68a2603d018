"""Code and files from outside the package count by their content, wherever they lie."""

import os
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from latentbench.contracts.options import composed
from latentbench.errors import UserError
from latentbench.records import outside
from latentbench.records.outside import check_unchanged, content_digest, outside_digests, source_digest
from latentbench.running.job import Job, resolve


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of own modules."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def new_digest(module: str) -> str:
    """What a process that starts now finds."""
    source_digest.cache_clear()
    return source_digest(module)


PACKAGE = {
    "mine/__init__.py": "",
    "mine/losses/__init__.py": "",
    "mine/losses/own.py": "import torch\nfrom . import helper\nfrom ..shared import scale\nimport beside\n",
    "mine/losses/helper.py": "import mine.far",
    "mine/far.py": "",
    "mine/shared.py": "scale = 1",
    "mine/another.py": "",
    "beside.py": "from latentbench.errors import UserError",
}


@pytest.mark.parametrize("file", PACKAGE)
def test_source_counts_with_all_that_it_imports_from_its_package_or_its_folder(file: str, place: Path) -> None:
    for name, text in PACKAGE.items():
        write(place / name, text)
    before = new_digest("mine.losses.own")
    (place / file).write_text(PACKAGE[file] + "\n# changed")
    assert (new_digest("mine.losses.own") == before) == (file == "mine/another.py")


def test_of_installed_packages_only_the_own_one_counts(place: Path) -> None:
    (place / "mine-1.0.dist-info").mkdir()
    for name, text in PACKAGE.items():
        write(place / name, text)
    before = new_digest("mine.losses.own")
    write(place / "beside.py", "changed = True")
    assert new_digest("mine.losses.own") == before
    write(place / "mine/far.py", "changed = True")
    assert new_digest("mine.losses.own") != before


@pytest.mark.parametrize("module", ["latentbench.data.digits", "torch.nn", "pytorch_lightning", "json", "no_such", ""])
def test_what_has_a_version_or_no_source_has_no_digest(module: str) -> None:
    assert new_digest(module) == ""


def test_files_count_by_their_names_and_contents(tmp_path: Path) -> None:
    for root in "ab":
        write(tmp_path / root / "train/1.png", "one")
    a, b = tmp_path / "a", tmp_path / "b"
    before = content_digest(a)
    assert content_digest(b) == before
    write(a / ".hidden", "of a file manager")
    os.utime(a / "train/1.png")
    (a / "back").symlink_to(a)
    assert content_digest(a) == before
    write(a / "train/1.png", "two")
    assert content_digest(a) != before
    (b / "train/1.png").rename(b / "train/2.png")
    assert content_digest(b) != before
    assert content_digest(a / "train/1.png") == content_digest(write(tmp_path / "copy", "two"))


def test_a_file_is_read_once_unless_it_may_change_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, path = [], write(tmp_path / "data" / "file", "content")
    digest = outside.hashlib.file_digest
    monkeypatch.setattr(outside.hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name))
    first = [content_digest(path.parent) for _ in range(2)]
    assert len(read) == 2, "a second change within a tick of the clock would not be seen"
    monkeypatch.setattr(outside, "CLOCK_TICK", -60.0)
    again = [content_digest(path.parent) for _ in range(2)]
    assert len(read) == 3
    assert len({*first, *again}) == 1
    path.chmod(0o600)  # changes no content, but a time
    monkeypatch.setattr(outside, "folder", lambda: path)  # not a folder
    assert content_digest(path.parent) == first[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data" / "file", "content")

    def refuse(*arguments: object) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(outside.hashlib, "file_digest", refuse)
    with pytest.raises(UserError, match=r"data cannot be read: Permission denied"):
        content_digest(tmp_path / "data")


def with_own(group: str, target: str, **settings: str) -> DictConfig:
    """A config with an own option."""
    config = OmegaConf.masked_copy(composed(), [key for key in composed() if key != "hydra"])
    OmegaConf.update(config, group, {"_target_": target, **settings}, force_add=True)
    return config


def job_of(config: DictConfig) -> Job:
    return Job(config, {"method": "vae", "data": "own"}, [], is_alone=True)


def folder_name(config: DictConfig) -> str:
    return resolve(job_of(config)).folder.name


def test_an_edited_own_part_makes_another_run(place: Path) -> None:
    config, names = with_own("regularizer", "own_regularizer.Own"), []
    for text in ("weight = 1", "weight = 2", "weight = 1"):
        write(place / "own_regularizer.py", text)
        source_digest.cache_clear()
        names.append(folder_name(config))
    assert names[0] == names[2] != names[1]
    run = resolve(job_of(config))
    assert run.config.outside == outside_digests(config), "the record shows it, and tables tell the runs apart by it"
    assert list(run.config.outside) == ["regularizer"]
    check_unchanged(run.config, ["regularizer", "prior"])
    write(place / "own_regularizer.py", "weight = 3")
    source_digest.cache_clear()
    with pytest.raises(UserError, match="regularizer: its code or files have changed since this run was trained"):
        check_unchanged(run.config, ["regularizer"])


def test_data_of_another_folder_or_a_changed_file_makes_another_run(place: Path) -> None:
    write(place / "own_data.py", "")
    for root in ("a", "b", "copy_of_a"):
        write(place / root / "images.npy", root[-1])

    def name(root: str, **more: str) -> str:
        return folder_name(with_own("data", "own_data.Own", name="own", root=str(place / root), **more))

    first = name("a")
    assert name("copy_of_a") == first, "the same images"
    assert name("b") != first
    write(place / "labels.txt", "1")
    with_labels = name("a", labels=f"{place}/labels.txt")
    write(place / "labels.txt", "2")
    assert name("a", labels=f"{place}/labels.txt") != with_labels
    write(place / "a" / "images.npy", "changed")
    assert name("a") != first


def test_weights_of_a_user_count_by_their_content(place: Path) -> None:
    found = []
    for content in ("1", "2"):
        weights = write(place / "weights.pth", content)
        config = with_own("features", "latentbench.features.inception.InceptionFeatures", weights=str(weights))
        found.append(outside_digests(config, ["features"]))
    assert found[0].keys() == found[1].keys() == {"features"}
    assert found[0] != found[1]


def test_published_data_name_nothing_outside_since_their_settings_have_checksums() -> None:
    published = with_own("data", "latentbench.data.idx.IdxImages", root="/", sha256={"train": "0"})
    assert "outside" not in resolve(job_of(published)).config


def test_images_of_a_user_count_by_their_content_wherever_they_lie(place: Path) -> None:
    for root in ("a", "copy_of_a"):
        write(place / root / "dog" / "1.png", "bits")

    def name(root: str) -> str:
        return folder_name(with_own("data", "latentbench.data.folder.ImageFolder", root=str(place / root)))

    first = name("a")
    assert name("copy_of_a") == first
    write(place / "a" / "dog" / "1.png", "other bits")
    assert name("a") != first
