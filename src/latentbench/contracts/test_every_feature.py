"""Features are small, fixed, and say truthfully how good they are."""

import re

import pytest
import torch

from latentbench.contracts.images import data_set
from latentbench.contracts.options import features_for, options, part_of
from latentbench.errors import UserError
from latentbench.features.classifier import metadata, network
from latentbench.features.train import accuracy
from latentbench.records.classifiers import SHIPPED, weights_file

STEMS = sorted(path.stem for path in SHIPPED.glob("*.safetensors") if path.stem in options("data"))


@pytest.mark.parametrize("data_name", options("data"))
@pytest.mark.parametrize("option", options("features"))
def test_it_gives_the_same_numbers_of_an_image_whatever_is_beside_it(option: str, data_name: str) -> None:
    data = data_set(data_name)
    features = features_for(option, data.name, data.shape)
    images = torch.rand(50, *data.shape)
    made = features(images)
    assert made.shape == (50, features.size)
    assert made.isfinite().all()
    assert torch.equal(made, features(images)), "no noise, no state"
    # Single precision: sums of a few thousand terms of order 1, added in another order.
    torch.testing.assert_close(features(images[:1]), made[:1], rtol=1e-4, atol=1e-4)
    assert len(made.unique(dim=0)) == 50


@pytest.mark.parametrize("data_name", options("data"))
@pytest.mark.parametrize("option", options("features"))
def test_it_has_a_name_of_its_own_and_learns_nothing_in_a_run(option: str, data_name: str) -> None:
    data = data_set(data_name)
    features = features_for(option, data.name, data.shape)
    assert features.name
    assert not features.training
    assert not any(weight.requires_grad for weight in features.parameters())


@pytest.mark.parametrize("option", options("features"))
def test_features_of_one_name_give_the_same_numbers_of_an_image_whatever_data_they_are_made_for(option: str) -> None:
    images = torch.rand(5, 1, 28, 28)
    one, other = (features_for(option, name, (1, 28, 28)) for name in ("mnist", "fashion_mnist"))
    assert torch.equal(one(images), other(images)) == (one.name == other.name)


@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 17, 23), (4, 12, 12), (7, 2, 9)])
@pytest.mark.parametrize("option", options("features"))
def test_it_gives_numbers_of_images_of_any_shape_or_says_which_it_takes(
    option: str, shape: tuple[int, int, int]
) -> None:
    try:
        features = features_for(option, "made", shape)
    except UserError as refusal:
        line = str(refusal)
        assert re.fullmatch(r"features.* images of 1 or 3 channels.*", line)
        return
    made = features(torch.rand(20, *shape))
    assert made.shape == (20, features.size)
    assert made.isfinite().all()
    assert len(made.unique(dim=0)) == 20


def test_no_two_options_have_features_of_one_name() -> None:
    needing_files = ("inception", "dinov2", "clip")
    names = [
        features_for(option, "mnist", (1, 28, 28)).name
        for option in options("features")
        if option not in (*needing_files, "auto")  # which means one of the others
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("option", options("features"))
def test_made_again_after_other_random_numbers_it_is_the_same(option: str) -> None:
    images = torch.rand(5, 1, 8, 8)
    one, again = (features_for(option, "digits", (1, 8, 8)) for _ in range(2))
    assert torch.equal(one(images), again(images))


@pytest.mark.parametrize("stem", STEMS)
def test_its_weights_are_small_and_their_test_accuracy_is_what_the_file_says(stem: str) -> None:
    path = weights_file(stem)
    assert path is not None
    assert path.stat().st_size < 1_000_000
    data = data_set(stem)
    about = metadata(path)
    assert about["shape"] == "x".join(map(str, data.shape))
    assert about["command"], "how to make them anew"
    features = part_of("features", "classifier", data_name=stem, shape=data.shape)
    assert isinstance(features.network, type(network(data.shape, classes=10)))
    if "note" not in about:  # which says that they were trained on other images
        assert accuracy(features.network, data, "test") == pytest.approx(float(about["test_accuracy"]), abs=1e-4)
