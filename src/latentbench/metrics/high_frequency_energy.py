"""Share of an image's power that lies in fine detail."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.metrics.base import Quantity
from latentbench.metrics.image_statistic import ImageStatistic


def cosine_transform(n: int, like: Tensor) -> Tensor:
    """The orthonormal DCT-II as a matrix (n, n): row k has frequency k / 2n cycles per pixel."""
    k, x = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64) + 0.5
    matrix: Tensor = (2 / n) ** 0.5 * torch.cos(math.pi / n * k[:, None] * x)
    matrix[0] /= 2**0.5
    return matrix.to(like)


def high_frequency_share(images: Tensor) -> Tensor:
    """Share of spectral power, the mean grey left out, at frequencies above half of Nyquist (1/4 cycle per pixel).

    sum of |c_kl|^2 with sqrt((k/H)^2 + (l/W)^2) > 1/2 over sum of all but c_00, c the cosine transform
    Shape: (N, C, H, W) -> (N,), from 0 to 1, all channels together; 0 for an image of one grey.
    The cosine transform sees an image go on mirrored at its border: the Fourier transform would see it begin anew, and
    count the jump as detail. Contrast and brightness do not move it. Noise raises it: white noise has 0.8 of its power
    up there.
    """
    height, width = images.shape[-2:]
    power = (cosine_transform(height, images) @ images @ cosine_transform(width, images).T).square()
    power[..., 0, 0] = 0
    rows, columns = (torch.arange(n, device=images.device) / n for n in (height, width))
    is_high = torch.hypot(rows[:, None], columns[None]) > 0.5
    total, high = power.sum((1, 2, 3)), (power * is_high).sum((1, 2, 3))
    return torch.where(total > 1e-8, high / total.clamp(min=1e-8), 0.0)


class HighFrequencyEnergy(ImageStatistic):
    """`high_frequency_energy/<set>`, mean share of power above half of Nyquist; `high_frequency_energy_ratio/<set>`.

    A share is free of contrast by itself. Below real images' is blur; above is noise or hard edges.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "high_frequency_energy": Quantity("", higher_is_better=None),
        "high_frequency_energy_ratio": Quantity("of real", higher_is_better=None),
    }

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """The share."""
        return {"high_frequency_energy": high_frequency_share(images)}
