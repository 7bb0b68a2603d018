"""A method trains, with any backbone it may be given and on images of any size."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from latentbench.configuration import identity
from latentbench.data.base import ImageData
from latentbench.run import build_model, fit
from options import composed, few_digits, node_of, noise_images, options

FAST = ("+trainer.limit_train_batches=2", "+trainer.limit_val_batches=1", "trainer.max_epochs=1", "logger=none")


def settled(method: str, backbone: str = "mlp") -> DictConfig:
    """A method's config with a backbone, for two batches of training."""
    config = copy.deepcopy(composed(*FAST, f"method={method}"))
    config.backbone = node_of("backbone", backbone)
    return config


def assert_two_batches_train(data: ImageData, folder: Path, config: DictConfig) -> None:
    """Two batches by way of the trainer move every weight, and all losses are numbers."""
    torch.manual_seed(0)
    model = build_model(config, data)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = fit(config, model, data, False, folder)
    losses = trainer.callback_metrics
    assert any(name.startswith("train/") and "loss" in name for name in losses)
    assert all(loss.isfinite() for loss in losses.values())
    assert not [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]


@pytest.mark.parametrize(("method", "backbone"), itertools.product(options("method"), options("backbone")))
@pytest.mark.filterwarnings("ignore")
def test_two_batches_of_digits_train_it(method: str, backbone: str, tmp_path: Path) -> None:
    assert_two_batches_train(few_digits(), tmp_path, settled(method, backbone))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)
@pytest.mark.parametrize("method", options("method"))
@pytest.mark.filterwarnings("ignore")
def test_two_batches_of_larger_images_train_it(method: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    assert_two_batches_train(noise_images(shape), tmp_path, settled(method))


def test_no_two_methods_are_one_method_of_two_names() -> None:
    runs = [identity(settled(method)) for method in options("method")]
    assert all(one != other for one, other in itertools.combinations(runs, 2))
