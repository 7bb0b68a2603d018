"""Networks of papers have the layers that the papers print, counted here by hand."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from latentbench.contracts.images import few_digits, noise_images
from latentbench.contracts.options import composed, part_of
from latentbench.errors import Refused
from latentbench.evaluation.build import build_model, build_seeded_model

Z = 10  # latent dimensions


def convolution(before: int, after: int, kernel: int) -> int:
    """With a bias."""
    return (before * kernel**2 + 1) * after


def linear(before: int, after: int) -> int:
    return (before + 1) * after


def normalizations(*channels: int) -> int:
    """A gain and a shift for each."""
    return 2 * sum(channels)


# The encoder of all three is printed as Conv2d(C, 128, 4, 2), (128, 256), (256, 512), (512, 1024), each normalized.
PYTHAE_ENCODER = [convolution(128, 256, 4), convolution(256, 512, 4), convolution(512, 1024, 4)]
PYTHAE_ENCODER += [normalizations(128, 256, 512, 1024)]
WAE_ENCODER = [convolution(128, 256, 5), convolution(256, 512, 5), convolution(512, 1024, 5)]
WAE_ENCODER += [normalizations(128, 256, 512, 1024)]
# backbone -> image channels, side, features, weights of the encoder, of the decoder
COUNTS: dict[str, tuple[int, int, int, list[int], list[int]]] = {
    "pythae_mnist": (
        1,
        28,
        1024,
        [convolution(1, 128, 4), *PYTHAE_ENCODER],
        # Linear(z, 16384), ConvTranspose2d(1024, 512, 3), (512, 256, 3), (256, 1, 3)
        [
            linear(Z, 16384),
            convolution(1024, 512, 3),
            convolution(512, 256, 3),
            convolution(256, 1, 3),
            normalizations(512, 256),
        ],
    ),
    "pythae_cifar": (
        3,
        32,
        4096,
        [convolution(3, 128, 4), *PYTHAE_ENCODER],
        # Linear(z, 65536), ConvTranspose2d(1024, 512, 4), (512, 256, 4), (256, 3, 4)
        [
            linear(Z, 65536),
            convolution(1024, 512, 4),
            convolution(512, 256, 4),
            convolution(256, 3, 4),
            normalizations(512, 256),
        ],
    ),
    "pythae_celeba": (
        3,
        64,
        16384,
        [convolution(3, 128, 4), *PYTHAE_ENCODER],
        # Linear(z, 65536), ConvTranspose2d(1024, 512, 5), (512, 256, 5), (256, 128, 5), (128, 3, 5)
        [
            linear(Z, 65536),
            convolution(1024, 512, 5),
            convolution(512, 256, 5),
            convolution(256, 128, 5),
            convolution(128, 3, 5),
            normalizations(512, 256, 128),
        ],
    ),
    "wae_celeba": (
        3,
        64,
        16384,
        [convolution(3, 128, 5), *WAE_ENCODER],
        # FC 8x8x1024, FSConv 512, 256, 128, and 3
        [
            linear(Z, 65536),
            convolution(1024, 512, 5),
            convolution(512, 256, 5),
            convolution(256, 128, 5),
            convolution(128, 3, 5),
            normalizations(512, 256, 128),
        ],
    ),
    "dcgan": (
        3,
        64,
        16384,
        # Without biases; the first layer is not normalized.
        [25 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024), normalizations(256, 512, 1024)],
        # The projection of z is normalized, the last layer is not.
        [16384 * Z, 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3), normalizations(16384, 512, 256, 128)],
    ),
}


def weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("backbone", COUNTS)
def test_a_published_network_has_as_many_weights_as_its_printed_layers(backbone: str) -> None:
    channels, side, features, encoder, decoder = COUNTS[backbone]
    made = part_of("backbone", backbone, shape=(channels, side, side), latent_size=Z)
    assert (made.features, weights(made.encoder), weights(made.decoder)) == (features, sum(encoder), sum(decoder))
    assert weights(made.head(2 * Z)) == 2 * linear(features, Z), "the two layers of a Gaussian encoder"


@pytest.mark.parametrize(("backbone", "deviation"), [("wae_celeba", 0.01), ("dcgan", 0.02)])
def test_first_weights_have_the_papers_standard_deviation(backbone: str, deviation: float) -> None:
    made = part_of("backbone", backbone, shape=(3, 64, 64), latent_size=Z)
    assert made.encoder[0](torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1], "the pixels of the papers"
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # A normal distribution cut at two standard deviations has 0.88 of its own.
            cut = 0.88 if backbone == "wae_celeba" and isinstance(layer, nn.Conv2d) else 1
            assert layer.weight.std().item() == pytest.approx(cut * deviation, rel=0.05)
            assert layer.bias is None or not layer.bias.any()


REFUSED = {
    "model=wgan_gp": "batch normalization mixes images: take backbone=conv or resnet, or model=gan",
    "model=hinge_gan": "batch normalization mixes images: take backbone=conv or resnet, or model=gan",
    "prior=vamp": "VampPrior encodes images of its own, and batch normalization in the encoder .* take backbone=conv",
}


@pytest.mark.parametrize("other", REFUSED)
def test_parts_that_look_at_single_images_refuse_batch_normalization(other: str) -> None:
    data = noise_images((1, 28, 28), n=4)
    with pytest.raises(Refused, match=REFUSED[other]):
        build_model(composed("backbone=pythae_mnist", other), data)


@pytest.mark.parametrize("method", ["vae", "gan"])
def test_batch_normalization_of_a_batch_of_one_image_is_refused_before_training(method: str) -> None:
    config: Any = composed("backbone=pythae_mnist", f"method={method}")
    data = noise_images((1, 28, 28), n=17)
    with pytest.raises(
        Refused, match=r"data.batch_size=16 the last batch has one: take another batch size, or backbone=conv"
    ):
        build_seeded_model(config, data)
    data.batch_size = 1
    with pytest.raises(Refused, match=r"data.batch_size=1 every batch has one"):
        build_seeded_model(config, data)
    build_seeded_model(composed("backbone=mlp", f"method={method}"), few_digits(17))


def test_the_network_of_importance_weighted_autoencoders_has_tanh_and_begins_as_published() -> None:
    network = part_of("backbone", "tanh_mlp", shape=(1, 28, 28), latent_size=50, raw_channels=1)
    for layers, sizes in ((network.encoder, [784, 200, 200]), (network.decoder, [50, 200, 200, 784])):
        assert not any(isinstance(layer, nn.ReLU) for layer in layers)
        assert sum(isinstance(layer, nn.Tanh) for layer in layers) == 2
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in linear] == list(pairwise(sizes))
        for layer in linear:
            bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
            assert 0.99 * bound < layer.weight.abs().max() <= bound
            assert not layer.bias.any()
