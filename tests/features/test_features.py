"""Features that are not trained here: pixels, an untrained network, and Inception with a file of weights."""

import hashlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
import torch
from PIL import Image
from torch import Tensor

from latentbench.contracts.options import part_of
from latentbench.errors import UserError
from latentbench.features import inception
from latentbench.features.inception import FILE_NAME, InceptionFeatures, preprocess

GREY = (1, 28, 28)


def features(option: str, shape: tuple[int, int, int] = GREY, **settings: Any) -> Any:
    return part_of("features", option, data_name="mnist", shape=shape, **settings)


def test_pixels_are_the_images() -> None:
    images = torch.rand(3, 2, 4, 5)
    assert torch.equal(features("pixels", (2, 4, 5))(images), images.reshape(3, 40))


def test_random_features_are_the_same_on_every_machine() -> None:
    """Their weights' bits, which a generator of another kind or normal draws would change."""
    digest = hashlib.sha256()
    for weight in features("random").parameters():
        digest.update(weight.numpy().tobytes())
    assert digest.hexdigest() == "b5937bdf48ca835e8da26195246a874df258d00adf15d08090829102c410f4b8"


def test_random_features_have_he_s_variance_and_none_is_dead() -> None:
    made = features("random")
    for name, weight in made.named_parameters():
        if name.endswith("weight") and len(weight) > 1:
            # Of n uniform numbers the variance is known to sqrt(0.8 / n): the smallest layer has 144.
            assert weight.var().item() == pytest.approx(2 / weight[0].numel(), rel=0.3)
    assert (made(torch.rand(100, *GREY)).std(0) > 0).all()


def test_random_features_move_nobodys_random_numbers_and_their_name_has_the_seed() -> None:
    before = torch.get_rng_state()
    one, other = features("random"), features("random", seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert (one.name, other.name) == ("random_0", "random_7")
    images = torch.rand(2, *GREY)
    assert not torch.equal(one(images), other(images))
    with pytest.raises(UserError, match=r"features\.random\.seed=-1: give a whole number, 0 or more"):
        features("random", seed=-1)


# Inception


@pytest.fixture
def torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch-fidelity's module of the network, without the rest of the package, which needs torchvision.

    It is looked for where Python looks and in `<environment>/inception`, where it does not trouble torchmetrics, which
    takes the package for complete.
    """
    monkeypatch.syspath_prepend(str(Path(sys.prefix) / "inception"))
    found = importlib.util.find_spec("torch_fidelity")
    if found is None:
        pytest.skip("torch-fidelity is not installed")
    package = types.ModuleType("torch_fidelity")
    package.__path__ = list(found.submodule_search_locations or [])
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    yield importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    for name in [name for name in sys.modules if name.startswith("torch_fidelity")]:
        sys.modules.pop(name)


@pytest.fixture
def weights(torch_fidelity: Any, tmp_path: Path) -> Path:
    """A file of random weights, of a size that keeps features apart from each other through all layers."""
    network = inception.network()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            state[name] = torch.randn_like(tensor) * (2 / tensor[0].numel()) ** 0.5
    state |= {"fc.weight": torch.randn(1008, 2048), "fc.bias": torch.randn(1008)}
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_inception_is_torch_fidelitys_own_network_on_images_of_its_size(torch_fidelity: Any, weights: Path) -> None:
    theirs = torch_fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights))
    images = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    made = features("inception", (3, 299, 299), weights=str(weights))
    found = made(images.float() / 255)
    (known,) = theirs(images)
    assert found.shape == (2, 2048)
    assert (found.std(0) > 0).float().mean() > 0.5, "the images are told apart"
    # At this size neither resizes; 94 layers in single precision.
    torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-4)


def test_inception_sees_grey_images_as_three_equal_channels_one_by_one(weights: Path) -> None:
    made: InceptionFeatures = features("inception", weights=str(weights))
    images = torch.rand(3, *GREY)
    found = made(images)
    torch.testing.assert_close(made(images.repeat(1, 3, 1, 1)), found, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made(images[1:2]), found[1:2], rtol=1e-3, atol=1e-4)
    assert made.size == 2048
    assert not any(weight.requires_grad for weight in made.parameters())
    assert made.name == f"inception_{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}", "not the published weights"


@pytest.mark.parametrize("shape", [(28, 28), (32, 40), (299, 299), (500, 600)])
def test_images_are_resized_as_pil_does_it_without_rounding(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    known = Image.fromarray(levels.astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
    images = torch.from_numpy(levels).float()[None, None] / 255
    found = preprocess(images)
    assert found.shape == (1, 3, 299, 299)
    # Two implementations of one filter in single precision: a hundredth of a grey level.
    torch.testing.assert_close(found[0, 1] * 128 + 128, torch.from_numpy(np.array(known)), rtol=0, atol=1e-2)
    nearly = images + (torch.rand_like(images) - 0.5) * 0.9 / 255
    assert torch.equal(preprocess(nearly), found), "of 256 levels, as images are stored"


def test_shrinking_does_not_alias() -> None:
    """A grid finer than the target averages out; without the filter it would turn into stripes."""
    stripes = (torch.arange(1196) % 2).float().expand(1, 1, 1196, 1196)
    assert preprocess(stripes)[..., 5:-5, 5:-5].std() < 0.02


@pytest.fixture
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights anywhere; the folders to put some into."""
    monkeypatch.setenv("LATENTBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def without_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes any weights called `weight` in place of Inception, for what is asked of files alone."""
    monkeypatch.setattr(inception, "network", lambda: torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False)))


def message(**settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        features("inception", **settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    assert "pip install 'latentbench[inception]'" in message()


def test_without_weights_it_says_where_they_belong_and_come_from(
    nothing_there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_layers(monkeypatch)
    text = message()
    assert all(str(nothing_there / folder) in text for folder in ("data", "cache", "hub/checkpoints"))
    assert f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE_NAME}" in text
    assert message(weights=str(nothing_there / "mine.pth")).endswith("there is no such file")


@pytest.mark.parametrize("folder", ["data", "cache", "hub/checkpoints"])
def test_a_file_of_the_published_name_must_be_the_published_file(
    folder: str, nothing_there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_layers(monkeypatch)
    (nothing_there / folder).mkdir(parents=True)
    path = nothing_there / folder / FILE_NAME
    torch.save({"0.weight": torch.ones(1, 1)}, path)
    assert f"{path} is not the published file" in message()
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert features("inception").name == "inception"


class Harmful:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("harm",)


@pytest.mark.parametrize("spoilt", ["cut", "no file of torch", "of another network", "no weights", "with code in it"])
def test_a_file_that_holds_something_else_is_said_to(
    spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_layers(monkeypatch)
    path = tmp_path / "weights.pth"
    content: Any = {"of another network": {"1.weight": torch.ones(1)}, "no weights": [1], "with code in it": Harmful()}
    torch.save(content.get(spoilt, {"0.weight": torch.ones(1, 1)}), path)
    if spoilt == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if spoilt == "no file of torch":
        path.write_bytes(b"<html>Please log in</html>")
    assert f"features.inception.weights={path} does not hold Inception's weights" in message(weights=str(path))
    assert "harm" not in capsys.readouterr().out


def test_images_of_other_than_one_or_three_channels_are_refused() -> None:
    assert "1 or 3 channels, not 2" in message(shape=(2, 28, 28))


def test_a_tensor_takes_no_gradient_through_weights(weights: Path) -> None:
    images = torch.rand(1, *GREY)
    found: Tensor = features("inception", weights=str(weights))(images)
    assert not found.requires_grad
