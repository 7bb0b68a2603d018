"""How blur, noise and sharpening change the metrics of sharpness: writes docs/sharpness.png.

python benchmarks/sharpness.py data=mnist
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scipy.ndimage
import torch
from hydra.utils import instantiate
from torch import Tensor

from latentbench.configuration.compose import compose_config
from latentbench.metrics.high_frequency_energy import high_frequency_share
from latentbench.metrics.noise import noise_level
from latentbench.metrics.sharpness import laplacian_variance, normalize_contrast

IMAGES_SHOWN, IMAGES_MEASURED = 6, 1000


def blur(images: Tensor, sigma: float) -> Tensor:
    """Images convolved with a Gaussian whose standard deviation is sigma pixels."""
    return torch.from_numpy(scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


def main() -> None:
    """Draw a row for each kind of images, with its ratios to real images."""
    torch.manual_seed(0)
    data = instantiate(compose_config(sys.argv[1:] or ["data=mnist"]).data, seed=0)
    real = data.expected_images("test")[:IMAGES_MEASURED]
    kinds = {"real": real}
    kinds |= {f"blur, {sigma} px": blur(real, sigma) for sigma in (0.5, 1.0)}
    kinds |= {f"noise, {s}": (real + s * torch.randn_like(real)).clamp(0, 1) for s in (0.1, 0.2)}
    kinds["blur, 0.5 px, and noise, 0.1"] = (kinds["blur, 0.5 px"] + 0.1 * torch.randn_like(real)).clamp(0, 1)
    kinds["sharpened"] = (real + 0.5 * (real - blur(real, 1.0))).clamp(0, 1)
    kinds["half the contrast"] = 0.5 * real
    statistics = {
        "sharpness": laplacian_variance,
        "normalized\nsharpness": lambda images: normalize_contrast(laplacian_variance(images), images),
        "high\nfrequency\nenergy": high_frequency_share,
        "noise": noise_level,
    }
    figure, axes = plt.subplots(
        len(kinds), IMAGES_SHOWN + 1, figsize=(11, 0.85 * len(kinds) + 0.6), width_ratios=[1] * IMAGES_SHOWN + [5.5]
    )
    for row, (name, images) in zip(axes, kinds.items(), strict=True):
        for axis, image in zip(row[:IMAGES_SHOWN], images[:IMAGES_SHOWN], strict=True):
            axis.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        row[0].text(-0.15, 0.5, name, ha="right", va="center", transform=row[0].transAxes)
        for column, (title, statistic) in enumerate(statistics.items()):
            x = 0.15 + 0.25 * column
            ratio = (statistic(images).mean() / statistic(real).mean()).item()
            row[-1].text(x, 0.5, f"{ratio:.2f}", ha="center", va="center", fontsize=12)
            if name == "real":
                row[-1].text(x, 1.1, title, ha="center", va="bottom", fontsize=9)
        for axis in row:
            axis.axis("off")
    target = Path(__file__).parents[1] / "docs" / "sharpness.png"
    figure.savefig(target, dpi=110, bbox_inches="tight")
    print(target)


if __name__ == "__main__":
    main()
