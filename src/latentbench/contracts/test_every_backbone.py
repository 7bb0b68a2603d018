"""A backbone fits images of any size and latents of any number, and every weight of it learns."""

import pytest
import torch

from latentbench.contracts.options import options, part_of

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 23)]


@pytest.mark.parametrize("latent_size", [1, 2, 64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backbone", options("backbone"))
def test_it_encodes_and_decodes_one_image_or_several(
    backbone: str, shape: tuple[int, int, int], latent_size: int
) -> None:
    made = part_of("backbone", backbone, shape=shape, latent_size=latent_size)
    for batch in (1, 3):
        assert made.encode(torch.rand(batch, *shape)).shape == (batch, made.features)
        assert made.decode(torch.randn(batch, latent_size)).shape == (batch, *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backbone", options("backbone"))
def test_an_image_is_encoded_and_decoded_alike_whatever_else_is_in_the_batch(
    backbone: str, shape: tuple[int, int, int]
) -> None:
    made = part_of("backbone", backbone, shape=shape, latent_size=2)  # as in training, where processes share a batch
    x, z = torch.rand(4, *shape), torch.randn(4, 2)
    # Single precision: sums of a few thousand terms of order 1, added in another order.
    torch.testing.assert_close(made.encode(x)[:1], made.encode(x[:1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made.decode(z)[:1], made.decode(z[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backbone", options("backbone"))
def test_gradients_reach_every_weight_and_the_input(backbone: str, shape: tuple[int, int, int]) -> None:
    made = part_of("backbone", backbone, shape=shape, latent_size=3)
    x, z = torch.rand(8, *shape, requires_grad=True), torch.randn(8, 3, requires_grad=True)
    (made.encode(x).square().sum() + made.decode(z).square().sum()).backward()
    for name, tensor in [("x", x), ("z", z), *made.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@pytest.mark.parametrize("backbone", options("backbone"))
def test_the_decoder_gives_as_many_channels_as_a_likelihood_wants(backbone: str) -> None:
    made = part_of("backbone", backbone, shape=(3, 9, 8), latent_size=2, raw_channels=30)
    assert made.encode(torch.rand(4, 3, 9, 8)).shape == (4, made.features)
    assert made.decode(torch.randn(4, 2)).shape == (4, 30, 9, 8)


@pytest.mark.parametrize("backbone", options("backbone"))
def test_encoder_and_decoder_share_nothing_and_are_all_there_is(backbone: str) -> None:
    made = part_of("backbone", backbone, shape=(1, 8, 8), latent_size=2)
    encoder, decoder = ({id(weight) for weight in half.parameters()} for half in (made.encoder, made.decoder))
    assert not encoder & decoder
    assert encoder | decoder == {id(weight) for weight in made.parameters()}


@pytest.mark.parametrize("backbone", options("backbone"))
def test_raw_output_may_be_any_real_number(backbone: str) -> None:
    made = part_of("backbone", backbone, shape=(1, 8, 8), latent_size=2)
    raw = made.decode(30 * torch.randn(200, 2))
    assert raw.min() < 0
    assert raw.max() > 1
