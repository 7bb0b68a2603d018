"""Grids of points all over a space of latents, and whether draws follow a density that is known on them."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, CODES, SPHERE, Space


def grid(space: Space, latent_size: int, *, reach: float = 25.0, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Points (N, D) all over a space of 1 or 2 dimensions and the volume (N,) that each stands for, in float64.

    reach: how far the points go in R^n; classes: of each group in the space of codes (one-hot).
    """
    if space is CODES:
        words = torch.cartesian_prod(*[torch.arange(classes)] * latent_size).reshape(-1, latent_size)
        return one_hot(words, classes).flatten(1).double(), torch.ones(len(words), dtype=torch.float64)
    if space is SPHERE:
        # The midpoint rule is exact to rounding on a circle; on the sphere it is in the cosine of the latitude, too.
        n = 4000 if latent_size == 1 else 300
        angle = 2 * math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n
        circle = torch.stack([angle.cos(), angle.sin()], 1)
        if latent_size == 1:
            return circle, torch.full((n,), 2 * math.pi / n, dtype=torch.float64)
        height = 2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n - 1
        around = (1 - height.square()).sqrt()[:, None, None] * circle
        points = torch.cat([height[:, None, None].expand(n, n, 1), around], 2).flatten(0, 1)
        return points, torch.full((n * n,), 4 * math.pi / n**2, dtype=torch.float64)
    half_width = BOX_HALF_WIDTH if space is BOX else reach
    n = 20_000 if latent_size == 1 else 300
    axis = half_width * (2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n - 1)
    points = torch.cartesian_prod(*[axis] * latent_size).reshape(-1, latent_size)
    return points, torch.full((len(points),), (2 * half_width / n) ** latent_size, dtype=torch.float64)


def waves(size: int, n: int) -> Callable[[Tensor], Tensor]:
    """n smooth functions of points (..., size) with values (..., n), of which all means tell distributions apart."""
    directions, phases = torch.randn(n, size, dtype=torch.float64), 2 * math.pi * torch.rand(n, dtype=torch.float64)
    return lambda points: (points @ directions.T + phases).cos()


def assert_drawn_from(draws: Tensor, points: Tensor, mass: Tensor) -> None:
    """Means over draws (N, D) are, to five standard errors, those with probabilities (M,) of points (M, D)."""
    of = waves(points.shape[1], 8)
    found, wanted = of(draws), mass.detach() @ of(points)
    error = found.std(0) / len(draws) ** 0.5
    assert ((found.mean(0) - wanted).abs() <= 5 * error + 1e-3).all()  # a grid's own error is below that


def ranks(draws: Tensor, points: Tensor, mass: Tensor) -> Tensor:
    """Probability of what lies before each draw (N, D) on a line or a circle, from the grid's points and their mass."""
    line, circle = (lambda z: z[:, 0]), (lambda z: torch.atan2(z[:, 1], z[:, 0]) % (2 * math.pi))
    along = line if points.shape[1] == 1 else circle
    edges = along(points) + (along(points)[1] - along(points)[0]) / 2
    return torch.from_numpy(np.interp(along(draws).numpy(), edges.numpy(), mass.detach().cumsum(0).numpy()))
