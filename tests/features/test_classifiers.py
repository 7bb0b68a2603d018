"""Classifiers whose features metrics compare: their networks, how they are trained, and what `features=auto` means."""

import json
import os
from pathlib import Path
from typing import Any

import pooch
import pytest
import torch
from torch import Tensor

from commands import latentbench, the_one_line
from latentbench.cli import evaluate, features
from latentbench.contracts.images import GivenImages, few_digits, noise_images
from latentbench.contracts.options import composed, part_of
from latentbench.data.base import Splits
from latentbench.errors import UserError
from latentbench.features import train
from latentbench.features.classifier import metadata, network
from latentbench.features.train import PLAIN, RESIDUAL, accuracy, moved, to_bytes
from latentbench.records import classifiers
from latentbench.records.classifiers import choose_classifier, data_digest, keep, weights_file

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing in the user's cache folder, and brief training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(train, "PLAIN", PLAIN._replace(epochs=2))
    monkeypatch.setattr(train, "RESIDUAL", RESIDUAL._replace(epochs=1, min_steps=60))
    return tmp_path / "cache"


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 8, 8), (3, 5, 9), (3, 64, 80), (3, 130, 128), (2, 16, 16)])
def test_its_network_takes_images_of_any_size_and_gives_a_logit_for_every_class(shape: tuple[int, int, int]) -> None:
    made = network(shape, classes=7).eval()
    assert made(torch.rand(2, *shape)).shape == (2, 7)


def colours(n: int = 60, classes: int = 3, size: int = 8) -> GivenImages:
    """Noise in which the channel of the class is brighter."""
    labels = {split: torch.arange(n) % classes for split in SPLITS}
    generator = torch.Generator().manual_seed(0)
    images = {split: torch.randint(0, 100, (n, 3, size, size), generator=generator) for split in SPLITS}
    for split in SPLITS:
        images[split][torch.arange(n), labels[split]] += 100
    return GivenImages(
        Splits({split: images[split].to(torch.uint8) for split in SPLITS}, labels),  # type: ignore[arg-type]
        name="colours",
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_learns_classes_of_colour_and_what_is_stored_is_what_was_rated(precision: str, cache: Path) -> None:
    torch.manual_seed(0)
    data = colours()
    weights, about = to_bytes(train.train(data, precision=precision), data, "a command")
    assert about["classes"] == "3"
    assert float(about["test_accuracy"]) == 1
    path = cache / "classifiers" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(weights)
    made = part_of("features", "classifier", weights="mine", data_name="colours", shape=data.shape)
    assert made.name == "classifier_mine"
    assert accuracy(made.network, data, "test") == 1
    found: Tensor = made(data.expected_images("test"))
    assert found.shape == (60, made.size) == (60, 128)
    assert (found >= 0).all()
    maps = made.network[:-5](data.expected_images("test"))
    torch.testing.assert_close(found, maps.mean((2, 3)))


def test_images_of_one_class_train_no_classifier() -> None:
    with pytest.raises(UserError, match="one label, or none: a classifier needs two classes or more"):
        train.train(noise_images((1, 8, 8)))
    with pytest.raises(UserError, match=r"trainer.precision=16-mixed: classifiers are trained in 32-true or bf16"):
        train.train(colours(), precision="16-mixed")


@pytest.mark.parametrize("size", [6, 3])
def test_images_are_moved_by_few_pixels_and_mirrored(size: int) -> None:
    images = torch.rand(200, 2, size, size + 1)
    torch.manual_seed(0)
    found = moved(images, 4)
    assert found.shape == images.shape
    mode = "reflect" if size > 4 else "replicate"
    padded = torch.nn.functional.pad(images, [4] * 4, mode=mode)
    seen = set()
    for i in range(200):
        windows = {
            (top, left, mirrored): window.flip(2) if mirrored else window
            for top in range(9)
            for left in range(9)
            for mirrored in (False, True)
            for window in [padded[i, :, top : top + size, left : left + size + 1]]
        }
        seen |= {place for place, window in windows.items() if torch.equal(window, found[i])}
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert {mirrored for _, _, mirrored in seen} == {False, True}
    assert torch.equal(moved(images, 0), images)


# features=auto


@pytest.fixture
def none_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package without classifiers."""
    monkeypatch.setattr(classifiers, "SHIPPED", tmp_path / "none")


def meant(data: str, *overrides: str) -> Any:
    """What `features=auto` means for the data of a command."""
    config = composed(f"data={data}", "features=[auto]", *overrides).copy()
    choose_classifier(config, data)
    return config.features.classifier


def test_it_is_the_shipped_classifier_with_the_settings_it_always_had() -> None:
    assert meant("digits") == composed("features=[classifier]").features.classifier
    assert meant("digits", "features.classifier.weights=mnist").weights == "mnist"


@pytest.mark.usefixtures("none_shipped")
def test_without_a_classifier_it_is_random_convolutions() -> None:
    assert meant("digits") == composed("features=[random]").features.random


@pytest.mark.usefixtures("none_shipped")
def test_features_that_it_is_the_same_as_are_left_out() -> None:
    config = composed("data=digits", "features=[auto,random,pixels]").copy()
    choose_classifier(config, "digits")
    assert sorted(config.features) == ["classifier", "pixels"]
    other = composed("data=digits", "features=[auto,random]", "features.random.seed=1").copy()
    choose_classifier(other, "digits")
    assert sorted(other.features) == ["classifier", "random"]


@pytest.mark.usefixtures("none_shipped")
def test_a_classifier_is_taken_for_the_data_that_it_was_trained_on_alone(cache: Path) -> None:
    trained = latentbench("data=digits", program=features.main)
    assert trained.code == 0, trained.err
    (path,) = (cache / "classifiers").iterdir()
    assert str(path) in trained.out
    assert "on validation images" in trained.out
    about = metadata(path)
    assert (about["classes"], about["command"]) == ("10", "latentbench-features data=digits")
    assert 0.1 < float(about["test_accuracy"]) <= 1
    assert meant("digits").weights == path.stem
    assert weights_file(path.stem) == path
    assert meant("digits", "data.batch_size=7").weights == path.stem
    assert "weights" not in meant("digits", "data.binarize=threshold")
    assert "weights" not in meant("mnist")
    config = composed("data=digits", "features=[classifier]").copy()
    choose_classifier(config, "digits")
    assert config.features.classifier.weights == path.stem


@pytest.mark.usefixtures("none_shipped")
def test_of_several_classifiers_of_the_same_data_the_newest_is_taken(cache: Path) -> None:
    contents = (b"one", b"another", b"a third")
    paths = [keep(content, cache / "classifiers", composed("data=digits"), "digits") for content in contents]
    for newest in paths:
        for path in paths:
            os.utime(path, (0, 1 if path == newest else 0))
        assert meant("digits").weights == newest.stem


def test_data_are_told_apart_by_their_settings_and_by_the_content_of_their_files(tmp_path: Path) -> None:
    config = composed("data=mnist").copy()
    before = data_digest(config)
    config.data.root = str(tmp_path / "elsewhere")
    assert data_digest(config) != before
    config.data.mirrors = []
    config.data.name = "other"
    assert data_digest(config) == data_digest(composed("data=mnist", f"data.root={tmp_path / 'elsewhere'}"))


def test_what_has_a_classifier_needs_none_and_a_word_is_no_setting() -> None:
    assert "is part of the package" in the_one_line(latentbench("data=digits", program=features.main))
    assert "data=<option>" in the_one_line(latentbench("digits", program=features.main))
    assert "latentbench-features data=mine" in latentbench("--help", program=features.main).out


@pytest.mark.usefixtures("none_shipped")
@pytest.mark.parametrize("measured_by", ["latentbench", "features=[auto]", "features=[classifier]"])
def test_numbers_without_a_classifier_say_so_and_are_measured_again_once_there_is_one(
    measured_by: str, tmp_path: Path
) -> None:
    command = ["data=digits", "backbone.hidden=[16]", "trainer.max_epochs=1", "logger=none"]
    command += ["metric=[fid]", "sampler=[prior]", "features=[auto]"]
    assert latentbench(*command).code == 0

    def record() -> Any:
        (path,) = tmp_path.glob("outputs/adhoc/*/record.json")
        return json.loads(path.read_text())

    before = record()
    assert before["config"]["resolved"]["features"] == {"classifier": "random_0"}
    assert before["choices"]["features"] == ["classifier"]
    assert set(before["caveats"]) >= {"fid/prior", "fid/real"}
    for key in ("fid/prior", "fid/real"):
        assert "random convolutions (random_0), since digits has no classifier" in before["caveats"][key]
    assert latentbench(command[0], program=features.main).code == 0
    (folder,) = tmp_path.glob("outputs/adhoc/*")
    if measured_by == "latentbench":
        assert latentbench(*command).code == 0
    else:
        assert latentbench(str(folder), measured_by, program=evaluate.main).code == 0
    after = record()
    assert after["run_id"] == before["run_id"]
    name = after["config"]["features"]["classifier"]["weights"]
    assert name.startswith("digits-")
    assert after["config"]["resolved"]["features"] == {"classifier": f"classifier_{name}"}
    assert not any("no classifier" in caveat for caveat in after["caveats"].values())
    assert after["metrics"]["fid/prior"] != before["metrics"]["fid/prior"]
    assert latentbench(str(folder), "features=[auto,random]", program=evaluate.main).code == 0
    again = record()
    assert again["metrics"]["fid/prior"] == after["metrics"]["fid/prior"]
    assert again["metrics"]["fid/prior@random"] == pytest.approx(before["metrics"]["fid/prior"])


def test_a_file_for_other_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"are for images of 1x8x8, not 1x9x9"):
        part_of("features", "classifier", data_name="digits", shape=(1, 9, 9))
    with pytest.raises(UserError, match="latentbench-features"):
        part_of("features", "classifier", data_name="nobody", shape=few_digits().shape)


def test_the_shipped_classifier_of_cifar10_says_what_it_was_trained_on_and_tells_images_apart() -> None:
    path = weights_file("cifar10")
    assert path is not None
    assert path.stat().st_size < 1_000_000
    about = metadata(path)
    assert float(about["test_accuracy"]) >= 0.85
    made = part_of("features", "classifier", data_name="cifar10", shape=(3, 32, 32))
    assert made.name == "classifier_cifar10 (trained on JPEG re-encodings)"
    assert (made(torch.rand(200, 3, 32, 32)).std(0) > 0).float().mean() > 0.9
