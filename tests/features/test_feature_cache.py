"""What is made of real images is made once, and a cache that is spoilt or cannot be written changes no number."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pooch
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import inputs, part_of
from latentbench.features import cache
from latentbench.features.cache import cached
from latentbench.features.cache import folder as the_real_folder
from latentbench.metrics.inputs import MetricInputs
from latentbench.records.outside import source_digest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which everything is kept, and nothing remembered."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "features")
    monkeypatch.setattr(cache, "MIN_SECONDS", -1.0)
    cache._memory.clear()
    return tmp_path / "features"


class Maker:
    """Makes two tensors and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> tuple[Tensor, Tensor]:
        self.times += 1
        return torch.full((3, 2), self.times), torch.full((1,), 0.5, dtype=torch.float64)


def the_file(folder: Path) -> Path:
    """The only file of a folder."""
    (path,) = folder.iterdir()
    return path


def test_it_is_made_once_in_a_process_and_once_on_a_machine(folder: Path) -> None:
    make, content = Maker(), [torch.rand(4, 3)]
    first, again = (cached("it", content, make) for _ in range(2))
    cache._memory.clear()
    from_file = cached("it", [content[0].clone()], make)
    assert make.times == 1
    for tensors in (again, from_file):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first, tensors, strict=True))


def test_other_content_another_way_of_making_and_another_version_are_made_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = torch.rand(4, 3)
    changed = content.clone()
    changed[-1, -1] += 1e-7
    others = [content[:3], content.reshape(3, 4), content.double(), changed, content.flip(0), content.view(torch.int32)]
    make = Maker()
    for each in (content, *others):
        cached("it", [each], make)
    cached("it", [content, content], make)
    cached("it", [content[:2], content[2:]], make)
    cached("another", [content], make)
    monkeypatch.setattr(cache, "code_digest", lambda: "another")
    cached("it", [content], make)
    assert make.times == len(others) + 5


def test_what_takes_no_time_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MIN_SECONDS", 60.0)
    cached("it", [torch.rand(2)], Maker())
    assert not folder.exists()


@pytest.mark.parametrize("spoilt", ["cut", "empty", "no such format", "of another content", "a folder"])
def test_a_file_that_is_not_what_its_name_says_is_made_anew(spoilt: str, folder: Path) -> None:
    make, content = Maker(), [torch.rand(4, 3)]
    cached("it", content, make)
    path = the_file(folder)
    if spoilt == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif spoilt == "of another content":
        save_file(load_file(path), path, metadata={"key": "another"})
    elif spoilt == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"" if spoilt == "empty" else b"\x00" * 50)
    cache._memory.clear()
    assert cached("it", content, make)[0][0, 0] == make.times == 2
    if spoilt != "a folder":
        cache._memory.clear()
        cached("it", content, make)
        assert make.times == 2, "and then it is there again"


@pytest.mark.skipif(os.name == "nt", reason="folders are not closed to writing there")
def test_a_folder_that_cannot_be_written_is_done_without(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    make, content = Maker(), [torch.rand(4, 3)]
    assert cached("it", content, make)[0][0, 0] == 1
    assert cached("it", content, make)[0][0, 0] == 1


def test_a_process_remembers_the_latest_and_not_everything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_IN_MEMORY", 2)
    monkeypatch.setattr(cache, "MIN_SECONDS", 60.0)
    make, (a, b, c) = Maker(), torch.rand(3, 2)
    for content in (a, b, a, c, a):  # b goes, which was asked for longest ago
        cached("it", [content], make)
    assert make.times == 3
    cached("it", [b], make)
    assert make.times == 4


def test_it_lies_in_the_cache_where_data_sets_lie_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    assert the_real_folder() == tmp_path / "latentbench" / "features"


@pytest.mark.parametrize("cache_folder", [RuntimeError("no home"), Path("~/.cache/latentbench")])
def test_without_a_home_folder_results_are_in_memory_alone(
    cache_folder: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pooch, "os_cache", mock.Mock(side_effect=[cache_folder] * 2))
    monkeypatch.setattr(cache, "folder", the_real_folder)
    make, content = Maker(), [torch.rand(4, 3)]
    assert cached("it", content, make)[0][0, 0] == 1
    assert cached("it", content, make)[0][0, 0] == 1
    assert list(tmp_path.iterdir()) == []


def given() -> tuple[MetricInputs, list[int]]:
    """MetricInputs whose features count the images that they are asked of."""
    data = few_digits(30)
    features = part_of("features", "random", data_name="digits", shape=data.shape)
    asked: list[int] = []
    forward = features.forward

    def counted(images: Tensor) -> Tensor:
        asked.append(len(images))
        return forward(images)

    features.forward = counted
    images = {"real": data.images("validation"), "prior": data.images("train")}
    return inputs(data.images("test"), data=data, features=features, images=images), asked


def test_features_of_real_images_are_kept_from_run_to_run_and_those_of_samples_in_a_run(folder: Path) -> None:
    first, asked = given()
    for _ in range(2):
        made = [first.reference_features, first.features_of("real"), first.features_of("prior")]
    assert asked == [30, 30, 30]
    second, asked = given()
    again = [second.reference_features, second.features_of("real"), second.features_of("prior")]
    assert asked == [30], "only the samples"
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))


def test_features_of_other_weights_are_not_taken_for_these(folder: Path) -> None:
    first, _ = given()
    before = first.reference_features
    second, _ = given()
    next(second.features.parameters()).add_(1)
    assert not torch.equal(before, second.reference_features)


OWN = """
from latentbench.features.pixels import PixelFeatures

class Own(PixelFeatures):
    def forward(self, images):
        return images.flatten(1) * FACTOR
"""


def test_features_of_edited_code_are_not_taken_for_these(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    data, made = few_digits(), []
    for factor in ("1", "2.0"):  # of another length, which Python notices within the same second
        (tmp_path / "own_features.py").write_text(OWN.replace("FACTOR", factor))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "own_features", raising=False)
        source_digest.cache_clear()
        own = importlib.import_module("own_features").Own(data_name="digits", shape=data.shape)
        made.append(inputs(data.images("test"), data=data, features=own).reference_features)
    assert torch.equal(2 * made[0], made[1])


def test_moments_kernels_and_radii_of_the_reference_are_made_once(folder: Path) -> None:
    numbers = []
    for metrics in (("fid", "kid", "prdc", "fid_infinity"), ("fid", "kid", "prdc", "fid_infinity")):
        there, _ = given()
        numbers.append([part_of("metric", name).measure(there).values for name in metrics])
        kinds = len(list(folder.iterdir()))
        assert kinds == 5, "features of two sets, moments, kernels, radii"
    assert numbers[0] == numbers[1]
