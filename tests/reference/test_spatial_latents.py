"""Latents on a grid: which numbers belong to which position, and what is shared by all."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny_runs
from latentbench.contracts.images import few_digits, noise_images
from latentbench.contracts.options import backbone_of, composed, options, part_of
from latentbench.distributions.spaces import BOX, CODES, REAL, SPHERE
from latentbench.errors import Refused
from latentbench.evaluation.build import build_model
from latentbench.evaluation.stored_run import StoredRun
from latentbench.models.autoencoder import Autoencoder
from tiny_runs import digits_are_few

SPATIAL = ("conv_spatial", "resnet_spatial")
SHAPE = (3, 18, 32)  # on a grid of 5 x 8 positions


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Autoencoder:
    torch.manual_seed(0)
    made = build_model(composed("backbone=conv_spatial", "latent_size=4"), noise_images(SHAPE, n=4))
    assert isinstance(made, Autoencoder)
    return made


def test_latent_size_numbers_at_each_position_are_one_flat_vector(model: Autoencoder) -> None:
    assert model.backbone.latent_shape == (4, 5, 8)
    x = torch.rand(3, *SHAPE)
    q = model.posterior_distribution(x)
    assert q.event_shape == model.prior_distribution().event_shape == (160,)
    assert model.backbone.decode(q.sample()).shape == x.shape


def test_locations_and_scales_of_a_position_are_a_linear_function_of_its_features_alone(model: Autoencoder) -> None:
    x = torch.rand(2, *SHAPE)
    maps = model.backbone.encoder[:-1](x)  # (2, 64, 5, 8)
    q = model.posterior_distribution(x)
    assert isinstance(model.head.convolution, nn.Conv2d)
    weight, bias = model.head.convolution.weight[:, :, 0, 0], model.head.convolution.bias
    for row, column in [(0, 0), (2, 5), (4, 7)]:
        at = (row * 8 + column) * 4
        numbers = maps[:, :, row, column] @ weight.T + bias
        torch.testing.assert_close(q.mean[:, at : at + 4], numbers[:, :4])
        torch.testing.assert_close(q.variance[:, at : at + 4].sqrt(), numbers[:, 4:].exp())


@pytest.mark.parametrize("backbone", SPATIAL)
def test_the_encoder_and_the_decoder_keep_positions_where_they_are(backbone: str) -> None:
    made = part_of("backbone", backbone, shape=(1, 64, 64), latent_size=2 * 16 * 16)
    # In a corner of the image there is nothing to be seen of the opposite one; group normalization sees all of it.
    if backbone == "resnet_spatial":
        for layer in made.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.forward = lambda x: x  # type: ignore[method-assign]
    x, z = torch.rand(1, 1, 64, 64, requires_grad=True), torch.randn(1, 512, requires_grad=True)
    head = made.head(512)
    (seen,) = torch.autograd.grad(head(made.encode(x))[0, -2:].sum(), x)  # the last position: the lower right
    assert seen[0, 0, 32:, 32:].any()
    assert not seen[0, 0, :32].any()
    assert not seen[0, 0, :, :32].any()
    (shown,) = torch.autograd.grad(made.decode(z)[0, 0, :4, :4].sum(), z)
    near = shown.unflatten(1, (16, 16, 2))[0]
    assert near[:2, :2].all()
    assert not near[8:].any()
    assert not near[:, 8:].any()


def test_all_positions_share_the_codebooks_of_one() -> None:
    overrides = ("method=vq_vae", "backbone=conv_spatial", "latent_size=2")
    model = build_model(composed(*overrides), noise_images(SHAPE, n=4))
    assert isinstance(model, Autoencoder)
    codebook = model.posterior.codebook
    assert codebook.shape == (2, 10, 8)
    assert model.backbone.latent_shape == (16, 5, 8)
    with torch.no_grad():
        codebook.normal_()
    x = torch.rand(2, *SHAPE)
    z = model.encode(x).unflatten(1, (40, 2, 8))
    raw = model.head(model.backbone.encode(x)).unflatten(1, (40, 2, 8))
    for group in range(2):
        nearest = torch.cdist(raw[:, :, group], codebook[group].expand(2, 10, 8)).argmin(-1)
        assert torch.equal(z[:, :, group], codebook[group][nearest])
    draws = model.prior_distribution().sample(torch.Size([50])).unflatten(1, (40, 2, 8))
    for group in range(2):
        distances = torch.cdist(draws[:, :, group].flatten(0, 1), codebook[group])
        assert (distances.min(1).values < 0.01).all(), "up to rounding"
    terms, latents = model.terms(x)
    terms["loss"].backward()
    assert codebook.grad is not None
    assert codebook.grad.any()
    assert model.kl_per_image(latents.q, latents.z[None]).tolist() == pytest.approx([80 * math.log(10)] * 2)


PRIORS = {SPHERE: "hypersphere", CODES: "categorical", BOX: "uniform", REAL: "normal"}


@pytest.mark.parametrize("posterior", options("posterior"))
def test_posteriors_with_numbers_that_belong_to_no_position_are_refused(posterior: str) -> None:
    kind = type(part_of("posterior", posterior, latent_size=8, coordinates=8))
    overrides = [f"posterior={posterior}", f"prior={PRIORS[kind.space]}", "regularizer=none", "latent_size=8"]
    config = composed("backbone=conv_spatial", *overrides)
    on_the_whole = ("flow", "gaussian_full", "power_spherical", "von_mises_fisher")
    assert (kind.per_coordinate == 0) == (posterior in on_the_whole)
    if posterior in on_the_whole:
        with pytest.raises(Refused, match=r"take .*backbone=conv or resnet"):
            build_model(config, few_digits())
    else:
        build_model(config, few_digits())


def test_a_sphere_has_no_grid() -> None:
    with pytest.raises(Refused, match=r"latents of 33 numbers do not fit on the 2x2 positions of Conv.*: take a prior"):
        build_model(composed("method=gan", "backbone=conv_spatial", "prior=hypersphere"), few_digits())


@pytest.mark.parametrize("backbone", SPATIAL)
def test_a_missing_setting_is_one_line(backbone: str) -> None:
    with pytest.raises(Exception, match=r"backbone.channels=None: give a list"):
        build_model(composed(f"backbone={backbone}", "backbone.channels=null"), few_digits())


def test_a_run_is_recorded_with_the_shape_of_its_latents_and_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_runs, "TINY", ("backbone=conv_spatial", "latent_size=2", *tiny_runs.TINY[2:]))
    with digits_are_few():
        folder = tiny_runs.run_tiny(tmp_path, "metric=[rate]")
        run = StoredRun.open(folder)
    assert run.record.config["resolved"]["latent_shape"] == [2, 2, 2]
    assert run.latents().shape[1] == 8
    assert backbone_of("conv_spatial", shape=(1, 8, 8), latent_size=2).latent_shape == (2, 2, 2)
