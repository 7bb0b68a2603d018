"""A backbone fits images of any size, or of its own, and latents of any number, and every weight of it learns."""

import itertools

import pytest
import torch

from latentbench.backbones.base import batch_normalizations
from latentbench.contracts.options import backbone_of, options, sizes_for
from latentbench.errors import Refused

ANY_SIZE = [backbone for backbone in options("backbone") if (8, 8) in sizes_for(backbone)]
SHAPES = [
    (backbone, (channels, *size))
    for backbone in options("backbone")
    for channels, size in itertools.product((1, 3) if backbone in ANY_SIZE else (3,), sizes_for(backbone))
]
SHAPES += [(backbone, (4, *sizes_for(backbone)[0])) for backbone in ANY_SIZE]
IN_COLOUR = [(backbone, shape) for backbone, shape in SHAPES if shape[0] == 3]


@pytest.mark.parametrize(("backbone", "shape"), SHAPES)
def test_it_encodes_and_decodes_one_image_or_several(backbone: str, shape: tuple[int, int, int]) -> None:
    made = backbone_of(backbone, shape=shape, latent_size=1 if shape[0] == 1 else 64).eval()
    for batch in (1, 3):
        features = made.encode(torch.rand(batch, *shape))
        assert features.shape == (batch, made.features)
        assert made.head(2 * made.latent_size)(features).shape == (batch, 2 * made.latent_size)
        assert made.decode(torch.randn(batch, made.latent_size)).shape == (batch, *shape)


@pytest.mark.parametrize(("backbone", "shape"), IN_COLOUR)
def test_an_image_is_encoded_and_decoded_alike_whatever_else_is_in_the_batch(
    backbone: str, shape: tuple[int, int, int]
) -> None:
    made = backbone_of(backbone, shape=shape, latent_size=2)
    x, z = torch.rand(3, *shape), torch.randn(3, made.latent_size)
    # In training, too, where processes share a batch: they know of no mixing but that of batch normalization.
    for mode in (made.eval(), made if batch_normalizations(made) else made.train()):
        # Single precision: sums of a few thousand terms of order 1, added in another order.
        torch.testing.assert_close(mode.encode(x)[:1], mode.encode(x[:1]), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mode.decode(z)[:1], mode.decode(z[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("backbone", "shape"), IN_COLOUR)
def test_gradients_reach_every_weight_and_the_input(backbone: str, shape: tuple[int, int, int]) -> None:
    # In evaluation: to a bias, batch normalization lets no gradient pass in training.
    made = backbone_of(backbone, shape=shape, latent_size=3).eval()
    x, z = torch.rand(2, *shape, requires_grad=True), torch.randn(2, made.latent_size, requires_grad=True)
    (made.encode(x).square().sum() + made.decode(z).square().sum()).backward()
    for name, tensor in [("x", x), ("z", z), *made.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@pytest.mark.parametrize("backbone", options("backbone"))
def test_the_decoder_gives_as_many_channels_as_a_likelihood_wants(backbone: str) -> None:
    size = sizes_for(backbone)[-2:][0]
    made = backbone_of(backbone, shape=(3, *size), latent_size=1, raw_channels=30).eval()
    assert made.encode(torch.rand(1, 3, *size)).shape == (1, made.features)
    assert made.decode(torch.randn(1, made.latent_size)).shape == (1, 30, *size)


@pytest.mark.parametrize("backbone", options("backbone"))
def test_encoder_and_decoder_share_nothing_and_are_all_there_is(backbone: str) -> None:
    made = backbone_of(backbone, shape=(1, *sizes_for(backbone)[0]), latent_size=2)
    encoder, decoder = ({id(weight) for weight in half.parameters()} for half in (made.encoder, made.decoder))
    assert not encoder & decoder
    assert encoder | decoder == {id(weight) for weight in made.parameters()}


@pytest.mark.parametrize("backbone", options("backbone"))
def test_raw_output_may_be_any_real_number(backbone: str) -> None:
    made = backbone_of(backbone, shape=(1, *sizes_for(backbone)[0]), latent_size=2).eval()
    raw = made.decode(1e4 * torch.randn(2, made.latent_size))
    assert raw.min() < 0
    assert raw.max() > 1


@pytest.mark.parametrize("backbone", options("backbone"))
def test_images_that_it_is_not_for_are_refused(backbone: str) -> None:
    (height, width), *more = sizes_for(backbone)
    if more:  # it is for any
        return
    for size in [(30, 30), (64, 28)]:
        line = f"is for images of {height}x{width} pixels, and these have {size[0]}x{size[1]}: take backbone="
        with pytest.raises(Refused, match=line):
            backbone_of(backbone, shape=(1, *size), latent_size=2)
