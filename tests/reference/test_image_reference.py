"""Statistics of images against scipy, errors of reconstructions against torchmetrics."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.regression import mean_squared_error as their_mean_squared_error

from latentbench.contracts.images import data_set, few_digits
from latentbench.contracts.options import inputs, part_of, untrained
from latentbench.metrics.high_frequency_energy import high_frequency_share
from latentbench.metrics.noise import noise_level
from latentbench.metrics.reconstruction import Reconstruction, mean_squared_error, peak_signal_to_noise_ratio
from latentbench.metrics.sharpness import Sharpness, laplacian_variance, luminance, normalize_contrast
from latentbench.metrics.structural_similarity import structural_similarity


def normalized_sharpness(images: Tensor) -> Tensor:
    return normalize_contrast(laplacian_variance(images), images)


FREE_OF_CONTRAST = {"normalized_sharpness": normalized_sharpness, "high_frequency_energy": high_frequency_share}
STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "sharpness": laplacian_variance,
    "noise": noise_level,
    **FREE_OF_CONTRAST,
}


def blurred(images: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


def noisy(images: Tensor, sigma: float) -> Tensor:
    torch.manual_seed(0)
    return (images + sigma * torch.randn_like(images)).clamp(0, 1)


def sharpened(images: Tensor, amount: float) -> Tensor:
    return (images + amount * (images - blurred(images, 1))).clamp(0, 1)


def discs(n: int = 100) -> Tensor:
    """Soft-edged discs of 28x28: images that are flat but for their edges."""
    centre, radius = 10 + 8 * torch.rand(n, 2, 1, 1), 4 + 5 * torch.rand(n, 1, 1)
    grid = torch.arange(28.0)
    distance = torch.hypot(grid[:, None] - centre[:, 0], grid - centre[:, 1])
    return ((radius - distance) / 0.5).sigmoid()[:, None]


# Sharpness, fine detail and noise


def test_sharpness_is_the_variance_of_scipys_laplacian_away_from_the_border() -> None:
    images = torch.rand(5, 3, 9, 12)
    inner = [[scipy.ndimage.laplace(channel)[1:-1, 1:-1].var() for channel in image] for image in images.numpy()]
    np.testing.assert_allclose(laplacian_variance(images), np.mean(inner, axis=1), rtol=1e-4)
    contrast = images.numpy().reshape(5, 3, -1).var(2).mean(1)
    np.testing.assert_allclose(normalized_sharpness(images), np.mean(inner, axis=1) / contrast, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (1, 28, 28)])
def test_high_frequency_energy_is_that_of_scipys_cosine_transform(shape: tuple[int, int, int]) -> None:
    images = torch.rand(5, *shape)
    power = scipy.fft.dctn(images.double().numpy(), axes=(2, 3), norm="ortho") ** 2
    power[:, :, 0, 0] = 0
    high = [
        sum(
            power[:, :, k, j]
            for k in range(shape[1])
            for j in range(shape[2])
            if math.hypot(k / shape[1], j / shape[2]) > 0.5
        )
    ]
    known = high[0].sum(1) / power.sum((1, 2, 3))
    np.testing.assert_allclose(high_frequency_share(images), known, rtol=1e-4)


def test_waves_below_half_of_nyquist_are_not_fine_detail_and_those_above_are() -> None:
    x = (torch.arange(32) + 0.5) / 32
    for half_periods, share in ((5, 0.0), (15, 0.0), (17, 1.0), (31, 1.0)):
        wave = 0.5 + 0.3 * torch.cos(math.pi * half_periods * x).expand(1, 1, 32, 32)
        assert high_frequency_share(wave).item() == pytest.approx(share, abs=1e-5)
        assert high_frequency_share(wave.mT).item() == pytest.approx(share, abs=1e-5)


def test_white_noise_has_the_share_of_the_area_above_and_its_level_is_found() -> None:
    noise = 0.5 + 0.05 * torch.randn(100, 1, 64, 64)
    assert high_frequency_share(noise).mean().item() == pytest.approx(1 - math.pi / 16, abs=0.01)
    assert noise_level(noise).mean().item() == pytest.approx(0.05, rel=0.02)


def test_the_noise_level_is_scipys_convolution_with_the_mask() -> None:
    images = torch.rand(4, 2, 7, 9)
    mask = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
    inner = [[np.abs(scipy.ndimage.convolve(c, mask)[1:-1, 1:-1]).mean() for c in image] for image in images.numpy()]
    np.testing.assert_allclose(noise_level(images), np.mean(inner, 1) * math.sqrt(math.pi / 2) / 6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["noise", "digits", "discs"])
@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_falls_as_images_are_blurred(name: str, kind: str) -> None:
    images = {"noise": torch.rand(20, 1, 28, 28), "digits": few_digits(20).images("test"), "discs": discs(20)}[kind]
    values = [STATISTICS[name](blurred(images, sigma)).mean().item() for sigma in (0.0, 0.3, 0.5, 1.0, 2.0, 4.0)]
    if name == "normalized_sharpness":
        values = values[:-1]  # an image of 8x8 that is blurred by 4 pixels has no contrast left to divide by
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("kind", ["discs", "digits"])
@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_rises_with_noise(name: str, kind: str) -> None:
    images = discs() if kind == "discs" else few_digits().images("test")
    values = [STATISTICS[name](noisy(images, sigma)).mean().item() for sigma in (0.0, 0.1, 0.2, 0.4)]
    assert values == sorted(values)
    assert values[-1] > 1.5 * values[0]


@pytest.mark.parametrize(("kind", "sigma"), [("discs", 0.05), ("mnist", 0.1), ("fashion_mnist", 0.1)])
def test_noise_is_told_from_sharpening_that_makes_images_as_sharp(kind: str, sigma: float) -> None:
    images = discs() if kind == "discs" else data_set(kind).expected_images("test")[:200]
    real = {name: statistic(images).mean() for name, statistic in STATISTICS.items()}
    noise = noisy(images, sigma)
    sharpness = laplacian_variance(noise).mean() / real["sharpness"]
    amounts = torch.linspace(0, 4, 41).tolist()
    nearest = min(
        amounts, key=lambda a: abs((laplacian_variance(sharpened(images, a)).mean() / real["sharpness"]) - sharpness)
    )
    edges = sharpened(images, nearest)
    assert laplacian_variance(edges).mean() / real["sharpness"] == pytest.approx(sharpness.item(), rel=0.1)
    of_noise, of_edges = (noise_level(made).mean() / real["noise"] for made in (noise, edges))
    assert of_noise > 1.6 * of_edges


@pytest.mark.parametrize("name", FREE_OF_CONTRAST)
def test_contrast_and_brightness_do_not_move_what_is_free_of_contrast(name: str) -> None:
    images = few_digits().images("test")
    pale = 0.2 + 0.3 * images
    torch.testing.assert_close(STATISTICS[name](pale), STATISTICS[name](images), rtol=1e-3, atol=1e-5)
    assert laplacian_variance(pale).mean() < 0.1 * laplacian_variance(images).mean()


@pytest.mark.parametrize("name", STATISTICS)
def test_flat_images_have_none_of_it_whatever_their_brightness(name: str) -> None:
    assert not STATISTICS[name](torch.full((2, 1, 8, 8), 0.7)).any()
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    assert STATISTICS[name](ramp).item() == pytest.approx(0, abs=0.02 if name == "high_frequency_energy" else 1e-6)


def test_ratios_are_to_the_test_images() -> None:
    real, made = few_digits().images("test"), 0.5 * few_digits().images("train")
    numbers = Sharpness().measure(inputs(real, images={"prior": made, "real": real})).values
    assert numbers["sharpness/prior"] == pytest.approx(laplacian_variance(made).mean().item(), rel=1e-5)
    for name in ("sharpness", "normalized_sharpness"):
        assert numbers[f"{name}_ratio/real"] == pytest.approx(1)
        assert numbers[f"{name}_ratio/prior"] == pytest.approx(numbers[f"{name}/prior"] / numbers[f"{name}/real"])


def dappled(n: int, channels: int, height: int, width: int) -> Tensor:
    """Noise in which the channels have other contrasts, and rows and columns other frequencies."""
    contrast = torch.linspace(0.2, 1, channels)[:, None, None]
    return (
        torch.from_numpy(scipy.ndimage.gaussian_filter(torch.rand(n, channels, height, width), (0, 0, 0.3, 0.6)))
        * contrast
    )


def test_luminance_is_pillows_grey_and_that_of_grey_images_is_the_image() -> None:
    levels = torch.randint(0, 256, (20, 3, 5, 7), dtype=torch.uint8)
    grey = np.stack([np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) for image in levels])
    np.testing.assert_allclose(255 * luminance(levels / 255)[:, 0], grey, atol=0.51)  # Pillow's is rounded
    one = torch.rand(5, 1, 4, 4)
    assert torch.equal(luminance(one), one)
    two = torch.rand(5, 2, 4, 4)
    torch.testing.assert_close(luminance(two), (two[:, :1] + two[:, 1:]) / 2)


@pytest.mark.parametrize("weights", [(0.299, 0.587, 0.114), (0.25, 0.25, 0.25, 0.25)])
def test_sharpness_of_images_in_colour_is_that_of_their_luminance(weights: tuple[float, ...]) -> None:
    real, made = (dappled(6, len(weights), 9, 12) for _ in range(2))
    numbers = Sharpness().measure(inputs(real, images={"prior": made})).values
    of_made, of_real = (np.einsum("nchw,c->nhw", images.double().numpy(), weights) for images in (made, real))
    sharp, normalized = [], []
    for greys in (of_made, of_real):
        variances = np.array([scipy.ndimage.laplace(grey)[1:-1, 1:-1].var() for grey in greys])
        sharp.append(variances.mean())
        normalized.append((variances / greys.var((1, 2))).mean())
    for name, (known, real_known) in {"sharpness": sharp, "normalized_sharpness": normalized}.items():
        assert numbers[f"{name}/prior"] == pytest.approx(known, rel=1e-3)
        assert numbers[f"{name}_ratio/prior"] == pytest.approx(known / real_known, rel=1e-3)


def test_a_pattern_of_colours_that_are_equally_light_is_not_sharp() -> None:
    one, other = torch.tensor([0.4, 0.5, 0.4]), torch.tensor([0.4 + 0.114, 0.5, 0.4 - 0.299])
    is_one = (torch.arange(8)[:, None] + torch.arange(8)) % 2 == 0
    board = torch.where(is_one, one[:, None, None], other[:, None, None])[None]
    assert Sharpness().per_image(board)["sharpness"].item() == pytest.approx(0, abs=1e-6)
    assert laplacian_variance(board).item() > 0.1


@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 2, 9)])
def test_images_without_a_neighbourhood_of_3x3_pixels_are_skipped_with_that_reason(shape: tuple[int, int, int]) -> None:
    images = torch.rand(5, *shape)
    for option in ("sharpness", "noise"):
        metric = part_of("metric", option)
        measured = metric.measure(inputs(images, images={"prior": images, "real": images}))
        assert not measured.values
        assert set(measured.skipped) == {f"{name}/{of}" for name in metric.quantities for of in ("prior", "real")}
        (reason,) = set(measured.skipped.values())
        assert reason == f"images of {shape[1]}x{shape[2]} pixels have no neighbourhood of 3x3 pixels"


# Reconstructions


def test_errors_of_reconstructions_are_torchmetrics() -> None:
    x, copy = torch.rand(6, 3, 8, 8), torch.rand(6, 3, 8, 8)
    mse = mean_squared_error(x, copy)
    for one, i, j in zip(mse, x, copy, strict=True):
        assert one.item() == pytest.approx(their_mean_squared_error(i.flatten(), j.flatten()).item(), rel=1e-5)
        theirs = peak_signal_noise_ratio(i[None], j[None], data_range=1.0)
        assert peak_signal_to_noise_ratio(one).item() == pytest.approx(theirs.item(), rel=1e-5)
    assert peak_signal_to_noise_ratio(torch.tensor(0.0)) == torch.inf


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 11)])
def test_structural_similarity_is_torchmetrics(channels: int, size: int) -> None:
    x = discs(6).expand(6, channels, 28, 28) if size == 28 else torch.rand(6, channels, size, size)
    for y in (noisy(x, 0.1), torch.rand_like(x), 1 - x, 0.5 * x):
        settings = {"data_range": 1.0, "sigma": 1.5, "reduction": "none", "return_full_image": True}
        _, everywhere = structural_similarity_index_measure(x, y, **settings)
        theirs = everywhere[..., 5:-5, 5:-5].mean((1, 2, 3))  # further out their windows see mirrored pixels
        torch.testing.assert_close(structural_similarity(x, y).float(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "taps"), [((1, 8, 8), (7, 7)), ((3, 17, 23), (11, 11)), ((2, 5, 14), (5, 11)), ((1, 1, 5), (1, 5))]
)
def test_structural_similarity_is_of_a_window_that_fits_and_the_mean_over_channels(
    shape: tuple[int, int, int], taps: tuple[int, int]
) -> None:
    x = few_digits().images("test") if shape == (1, 8, 8) else dappled(6, *shape)
    down, across = (np.exp(-0.5 * ((np.arange(n) - n // 2) / 1.5) ** 2) for n in taps)
    window = np.outer(down, across) / (down.sum() * across.sum())
    inner = [slice(n // 2, size - n // 2) for n, size in zip(taps, shape[1:], strict=True)]
    y = noisy(x, 0.1)

    def windowed(images: np.ndarray) -> np.ndarray:
        return np.array([[scipy.ndimage.correlate(i, window)[*inner] for i in c] for c in images])

    a, b = x.double().numpy(), y.double().numpy()
    m, k = windowed(a), windowed(b)
    v, w, c = windowed(a * a) - m**2, windowed(b * b) - k**2, windowed(a * b) - m * k
    known = (2 * m * k + 1e-4) * (2 * c + 9e-4) / ((m**2 + k**2 + 1e-4) * (v + w + 9e-4))
    np.testing.assert_allclose(structural_similarity(x, y), known.mean((1, 2, 3)), rtol=1e-6)


def test_structural_similarity_is_one_for_a_copy_and_less_otherwise() -> None:
    x = few_digits().images("test")
    torch.testing.assert_close(structural_similarity(x, x), torch.ones(len(x), dtype=torch.float64))
    worse = [structural_similarity(x, noisy(x, sigma)).mean().item() for sigma in (0.01, 0.1, 0.3)]
    assert 1 > worse[0] > worse[1] > worse[2]
    assert structural_similarity(x, 1 - x).mean() < 0
    flat = torch.full((1, 1, 8, 8), 0.5)
    assert structural_similarity(flat, flat).item() == pytest.approx(1)


@pytest.mark.parametrize("method", ["vae", "ae"])
def test_the_reconstruction_metric_is_of_the_mean_codes_image_and_averages_over_images(method: str) -> None:
    data = few_digits()
    model = untrained(data, f"method={method}", "likelihood=gaussian")
    x = data.images("test")
    with torch.no_grad():
        mean = model.head(model.backbone.encode(x))[:, :8]
        copies = model.backbone.decode(mean).clamp(0, 1)
    numbers = Reconstruction().measure(inputs(x, model=model)).values
    each = [their_mean_squared_error(i.flatten(), j.flatten()).item() for i, j in zip(x, copies, strict=True)]
    assert numbers["mse/test"] == pytest.approx(np.mean(each), rel=1e-5)
    assert numbers["psnr/test"] == pytest.approx(np.mean(-10 * np.log10(each)), rel=1e-5)
    assert numbers["ssim/test"] == pytest.approx(structural_similarity(x, copies).mean().item(), rel=1e-5)
