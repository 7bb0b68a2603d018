"""Share of the spectral power of an image at high frequencies."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.metrics.image_statistic import ImageStatistic
from latentbench.metrics.measurements import Quantity


def cosine_transform(n: int, like: Tensor) -> Tensor:
    """The orthonormal DCT-II as a matrix (n, n), in which row k has frequency k / 2n cycles per pixel."""
    k, x = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64) + 0.5
    matrix: Tensor = (2 / n) ** 0.5 * torch.cos(math.pi / n * k[:, None] * x)
    matrix[0] /= 2**0.5
    return matrix.to(like)


def high_frequency_share(images: Tensor) -> Tensor:
    """Share of spectral power, without the constant term, above half of the Nyquist frequency (1/4 cycle per pixel).

    sum of |c_kl|^2 with sqrt((k/H)^2 + (l/W)^2) > 1/2 over sum of all but c_00, c the cosine transform

    Shape: (N, C, H, W) -> (N,), from 0 to 1, over all channels together; 0 for a constant image.
    The cosine transform continues an image by reflection at its border. The Fourier transform would repeat it, and
    count the jump at the border as detail. Contrast and brightness do not change the share. Noise raises it: white
    noise has 0.8 of its power at these frequencies.
    """
    height, width = images.shape[-2:]
    power = (cosine_transform(height, images) @ images @ cosine_transform(width, images).T).square()
    power[..., 0, 0] = 0
    rows, columns = (torch.arange(n, device=images.device) / n for n in (height, width))
    is_high = torch.hypot(rows[:, None], columns[None]) > 0.5
    total, high = power.sum((1, 2, 3)), (power * is_high).sum((1, 2, 3))
    return torch.where(total > 1e-8, high / total.clamp(min=1e-8), 0.0)


class HighFrequencyEnergy(ImageStatistic):
    """`high_frequency_energy/<set>`, the mean share of power above half of Nyquist, and
    `high_frequency_energy_ratio/<set>`.

    The share does not depend on contrast. A ratio below 1 means blur; above 1, noise or hard edges.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "high_frequency_energy": Quantity("", higher_is_better=None),
        "high_frequency_energy_ratio": Quantity("of real", higher_is_better=None),
    }

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        return {"high_frequency_energy": high_frequency_share(images)}
