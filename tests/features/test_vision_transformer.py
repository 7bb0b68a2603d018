"""DINOv2 and CLIP: timm's own networks with weights that the tests write."""

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from latentbench.contracts.options import node_of, part_of
from latentbench.errors import UserError
from latentbench.features.vision_transformer import resized_positions

GREY = (1, 28, 28)
COLOUR = (3, 20, 24)
# Small networks of the same classes as the options' own.
MODELS = {"dinov2": "vit_small_patch14_dinov2.lvd142m", "clip": "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"}
SIDE = {"dinov2": 28, "clip": 32}


class Anything(type):
    """A class that has every attribute, for what timm looks up when it is imported."""

    def __getattr__(cls, name: str) -> str:
        return named(name)


def named(name: str) -> str:
    """The name, unless Python asks for one of its own."""
    if name.startswith("__"):
        raise AttributeError(name)
    return name


class WithoutTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for torchvision, of which timm's vision transformers use nothing."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        is_it = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_it else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: Anything(named(name), (), {})  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@pytest.fixture(scope="module")
def timm() -> Iterator[Any]:
    """timm, with or without torchvision, from where Python looks or from `<environment>/inception`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(sys.prefix) / "inception"))
        if importlib.util.find_spec("timm") is None:
            pytest.skip("timm is not installed")
        yield from imported()


def imported() -> Iterator[Any]:
    """timm; what stands in for torchvision goes afterwards, and timm with it."""
    stand_in = WithoutTorchvision() if importlib.util.find_spec("torchvision") is None else None
    if stand_in:
        sys.meta_path.append(stand_in)
    yield importlib.import_module("timm")
    if stand_in:
        sys.meta_path.remove(stand_in)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def files(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights, of a size that keeps images apart through all layers."""
    made = {}
    for option, model in MODELS.items():
        torch.manual_seed(0)
        state = timm.create_model(model).state_dict()
        state = {
            name: torch.ones_like(tensor) if "gamma" in name or "norm" in name else torch.randn_like(tensor) * 0.05
            for name, tensor in state.items()
        }
        made[option] = tmp_path_factory.mktemp("weights") / f"{model}.safetensors"
        save_file(state, made[option])
    return made


def features(option: str, files: dict[str, Path], shape: tuple[int, int, int] = GREY, **settings: Any) -> Any:
    small = {"model": MODELS[option], "weights": str(files[option]), "side": SIDE[option]}
    return part_of("features", option, data_name="mnist", shape=shape, **(small | settings))


@pytest.mark.parametrize("option", MODELS)
def test_it_is_timms_own_network_with_the_weights_of_the_file(option: str, files: dict[str, Path], timm: Any) -> None:
    """At the size that it was trained with, where no position is interpolated."""
    side = 518 if option == "dinov2" else 224
    made = features(option, files, (3, side, side), side=side)
    theirs = timm.create_model(MODELS[option], checkpoint_path=str(files[option])).eval()
    images = torch.randint(0, 256, (2, 3, side, side)).float() / 255
    images[0] = (images[0] * 255 / 2).floor() / 255
    mean, std = (torch.tensor(list(node_of("features", option)[key])).view(3, 1, 1) for key in ("mean", "std"))
    assert theirs.pretrained_cfg["mean"] == pytest.approx(mean.flatten().tolist())
    assert theirs.pretrained_cfg["std"] == pytest.approx(std.flatten().tolist())
    with torch.no_grad():
        known = theirs((images - mean) / std)
    found = made(images)
    assert found.shape == (2, made.size) == known.shape
    if option == "clip":
        known = known / known.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-4)
    assert (found[0] - found[1]).abs().max() > 1e-2, "the images are told apart"


@pytest.mark.parametrize("option", MODELS)
def test_its_yaml_names_a_network_with_the_published_features(option: str, timm: Any) -> None:
    node = node_of("features", option)
    with torch.device("meta"):
        made = timm.create_model(node.model, img_size=node.side)
    width = made.num_classes or made.num_features
    assert (width, len(made.blocks), made.embed_dim) == ({"dinov2": 1024, "clip": 768}[option], 24, 1024)
    assert made.patch_embed.patch_size == (14, 14)
    assert type(made.blocks[0].mlp.act).__name__ == {"dinov2": "GELU", "clip": "QuickGELU"}[option]
    assert type(made) is type(timm.create_model(MODELS[option])), "the class of the networks of these tests"


@pytest.mark.parametrize("option", MODELS)
def test_it_sees_grey_images_as_three_equal_channels_one_by_one(option: str, files: dict[str, Path]) -> None:
    before = torch.get_rng_state()
    made = features(option, files)
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.rand(3, *GREY)
    found: Tensor = made(images)
    torch.testing.assert_close(made(images.repeat(1, 3, 1, 1)), found, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(made(images[1:2]), found[1:2], rtol=1e-3, atol=1e-4)
    assert not made.training
    assert not any(weight.requires_grad for weight in made.parameters())
    assert made.name == f"{MODELS[option]}_{hashlib.sha256(files[option].read_bytes()).hexdigest()[:8]}"


@pytest.mark.parametrize("shape", [(28, 28), (32, 40), (70, 50)])
@pytest.mark.parametrize("option", MODELS)
def test_images_are_resized_as_pil_does_it(option: str, shape: tuple[int, int], files: dict[str, Path]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image, side = Image.fromarray(levels), SIDE[option]
    if option == "clip":  # the largest central square
        small = min(shape)
        top, left = (shape[0] - small) // 2, (shape[1] - small) // 2
        image = image.crop((left, top, left + small, top + small))
    known = torch.from_numpy(np.array(image.resize((side, side), Image.Resampling.BICUBIC))).float()
    made = features(option, files)
    images = torch.from_numpy(levels).float()[None, None] / 255
    found = (made.preprocess(images) * made.std + made.mean) * 255
    assert found.shape == (1, 3, side, side)
    off = (found[0, 1] - known).abs()
    assert off.max() < 2.01, "PIL computes in whole numbers, and so may round to the next level, twice"
    assert (off > 0.5).float().mean() < 0.01


def test_positions_are_interpolated_by_a_cubic_with_dinov2s_factor() -> None:
    """Keys' cubic convolution with a = -0.75, along one side after the other, written out."""
    positions = torch.randn(1, 1 + 37 * 37, 3)
    found = resized_positions(positions, 16)
    assert torch.equal(found[:, 0], positions[:, 0])

    def weight(distance: float) -> float:
        a, x = -0.75, abs(distance)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    matrix = torch.zeros(16, 37)
    for i in range(16):
        place = (i + 0.5) * 37 / 16.1 - 0.5
        for j in range(-3, 41):
            matrix[i, min(max(j, 0), 36)] += weight(place - j)
    known = torch.einsum("ab,bcf,dc->adf", matrix, positions[0, 1:].reshape(37, 37, 3), matrix)
    torch.testing.assert_close(found[0, 1:], known.reshape(256, 3), rtol=1e-4, atol=1e-4)


def message(option: str, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        part_of("features", option, data_name="mnist", **({"shape": GREY} | settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("option", MODELS)
def test_what_is_missing_or_wrong_is_said(option: str, files: dict[str, Path], tmp_path: Path) -> None:
    other = next(name for name in MODELS if name != option)
    small = {"model": MODELS[option], "side": SIDE[option]}
    found = message(option)
    assert f"no {node_of('features', option).model}.safetensors in" in found
    assert "fetch it from model.safetensors of https://huggingface.co/timm/vit_large" in found
    assert "1 or 3 channels, not 2" in message(option, shape=(2, 28, 28))
    assert "there is no such file" in message(option, weights=str(tmp_path / "mine.pth"))
    assert "does not hold the weights of" in message(option, **small, weights=str(files[other]))
    assert "timm makes no nonsense" in message(option, model="nonsense", weights=str(files[option]))
    for name in ("no.safetensors", "no.pth"):
        (tmp_path / name).write_bytes(b"<html>Please log in</html>")
        assert "holds no weights" in message(option, **small, weights=str(tmp_path / name))


def test_without_timm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "pip install 'latentbench[timm]'" in message("clip")
