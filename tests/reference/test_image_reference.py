"""Sharpness against scipy's Laplacian, errors of reconstructions against torchmetrics."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchmetrics.functional.regression import mean_squared_error as their_mean_squared_error

from latentbench.metrics.reconstruction import Reconstruction, mean_squared_error, peak_signal_to_noise_ratio
from latentbench.metrics.sharpness import Sharpness, laplacian_variance
from options import evidence, few_digits, untrained


def test_sharpness_is_the_variance_of_scipys_laplacian_away_from_the_border() -> None:
    images = torch.rand(5, 3, 9, 12)
    inner = [[scipy.ndimage.laplace(channel)[1:-1, 1:-1].var() for channel in image] for image in images.numpy()]
    np.testing.assert_allclose(laplacian_variance(images), np.mean(inner, axis=1), rtol=1e-4)


@pytest.mark.parametrize("images", [torch.rand(20, 1, 28, 28), few_digits(20).images("test")], ids=["noise", "digits"])
def test_sharpness_falls_as_images_are_blurred(images: torch.Tensor) -> None:
    blurred = [
        torch.from_numpy(scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))
        for sigma in (0.0, 0.3, 0.5, 1.0, 2.0, 4.0)
    ]
    values = [laplacian_variance(each).mean().item() for each in blurred]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


def test_the_sharpness_ratio_is_to_the_test_images() -> None:
    real, made = few_digits().images("test"), 0.5 * few_digits().images("train")
    numbers, _ = Sharpness().measure(evidence(real, images={"prior": made, "real": real}))
    assert numbers["sharpness/prior"] == pytest.approx(laplacian_variance(made).mean().item(), rel=1e-5)
    assert numbers["sharpness_ratio/real"] == pytest.approx(1)
    assert numbers["sharpness_ratio/prior"] == pytest.approx(numbers["sharpness/prior"] / numbers["sharpness/real"])


def test_flat_images_have_no_sharpness_whatever_their_brightness_or_slope() -> None:
    assert not laplacian_variance(torch.full((2, 1, 8, 8), 0.7)).any()
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    assert laplacian_variance(ramp).item() == pytest.approx(0, abs=1e-12)


def test_errors_of_reconstructions_are_torchmetrics() -> None:
    x, copy = torch.rand(6, 3, 8, 8), torch.rand(6, 3, 8, 8)
    mse = mean_squared_error(x, copy)
    for one, i, j in zip(mse, x, copy, strict=True):
        assert one.item() == pytest.approx(their_mean_squared_error(i.flatten(), j.flatten()).item(), rel=1e-5)
        theirs = peak_signal_noise_ratio(i[None], j[None], data_range=1.0)
        assert peak_signal_to_noise_ratio(one).item() == pytest.approx(theirs.item(), rel=1e-5)
    assert peak_signal_to_noise_ratio(torch.tensor(0.0)) == torch.inf


@pytest.mark.parametrize("method", ["vae", "ae"])
def test_the_reconstruction_metric_is_of_the_mean_codes_image_and_averages_over_images(method: str) -> None:
    data = few_digits()
    model = untrained(data, f"method={method}", "likelihood=gaussian")
    x = data.images("test")
    with torch.no_grad():
        mean = model.head(model.backbone.encode(x))[:, :8]
        copies = model.backbone.decode(mean).clamp(0, 1)
    numbers, _ = Reconstruction().measure(evidence(x, model=model))
    each = [their_mean_squared_error(i.flatten(), j.flatten()).item() for i, j in zip(x, copies, strict=True)]
    assert numbers["mse/test"] == pytest.approx(np.mean(each), rel=1e-5)
    assert numbers["psnr/test"] == pytest.approx(np.mean(-10 * np.log10(each)), rel=1e-5)
