"""Maximum mean discrepancy between the codes and the prior."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentbench.errors import UserError
from latentbench.regularizers.base import Latents, Regularizer

Width = Tensor | float
Kernel = Callable[[Tensor, Width], Tensor]


class MaximumMeanDiscrepancy(Regularizer):
    """R = MMD^2 between the codes z ~ q(z) and as many samples of p(z), with a sum of kernels of several scales.

    The kernel of scale s has width s C, where C is the expected squared distance between two samples of p, 2 D for
    N(0, I).
    Units: none. The unbiased estimate may be negative.
    Raises: UserError if the kernel, a scale or the estimator is not valid.
    Source: Tolstikhin et al. 2018 (WAE-MMD), algorithm 2, with the scales of the authors' code. Estimators: Gretton et
    al. 2012, equations 3 (unbiased) and 5 (biased).
    """

    trains_prior = "draws"

    def __init__(self, *, latent_size: int, kernel: str, scales: Sequence[float], estimator: str) -> None:
        super().__init__(latent_size=latent_size)
        if kernel not in KERNELS:
            raise UserError(f"regularizer.kernel={kernel}: choose one of {', '.join(KERNELS)}")
        if estimator not in ESTIMATORS:
            raise UserError(f"regularizer.estimator={estimator}: choose one of {', '.join(ESTIMATORS)}")
        values = [scales] if isinstance(scales, str) or not isinstance(scales, Sequence) else list(scales)
        if not values or not all(type(value) in (int, float) and 0 < value < math.inf for value in values):
            raise UserError(f"regularizer.scales={values}: give one or more numbers above 0")
        self.kernel, self.scales, self.estimator = kernel, tuple(values), estimator

    def forward(self, latents: Latents) -> Tensor:
        distance = latents.prior_squared_distance()
        widths = [scale * distance for scale in self.scales]
        samples = latents.prior_samples()
        return mmd_squared(latents.z, samples, kernel=self.kernel, widths=widths, estimator=self.estimator)


def mmd_squared(a: Tensor, b: Tensor, *, kernel: str, widths: Sequence[Width], estimator: str) -> Tensor:
    """Estimate of MMD^2 = E k(a, a') + E k(b, b') - 2 E k(a, b), with k(u, v) = sum_w k_w(|u - v|^2).

    Shape: a (N, D), b (M, D); result ().
    """
    one_kernel, mean_within = KERNELS[kernel], ESTIMATORS[estimator]

    def similarity(u: Tensor, v: Tensor) -> Tensor:
        squared = squared_distances(u, v)
        terms = [one_kernel(squared, width) for width in widths]
        return sum(terms[1:], start=terms[0])

    within_a, within_b = (mean_within(similarity(points, points), float(len(widths))) for points in (a, b))
    return within_a + within_b - 2 * similarity(a, b).mean()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 for all pairs.

    Its rounding errors are as large as those of |a|^2 and |b|^2, so the distance of a point to itself is not exactly 0.
    Shape: a (N, D), b (M, D); result (N, M).
    """
    # torch.cdist, in its mode without such errors, takes seven times as long for 512 dimensions.
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp(min=0)


def inverse_multiquadric(squared: Tensor, width: Width) -> Tensor:
    """w / (w + |u - v|^2)."""
    return (width + squared).reciprocal() * width


def rbf(squared: Tensor, width: Width) -> Tensor:
    """exp(-|u - v|^2 / w)."""
    return torch.exp(-squared / width)


def unbiased(similarity: Tensor, self_similarity: float) -> Tensor:
    """Mean similarity over all pairs of different points, 0 for a single point. Shape: (N, N) -> ()."""
    n = len(similarity)
    if n == 1:
        return similarity.new_zeros(())
    return (similarity.sum() - n * self_similarity) / (n * (n - 1))


def biased(similarity: Tensor, self_similarity: float) -> Tensor:
    """Mean similarity over all pairs, including each point with itself. MMD^2 is then never negative."""
    return similarity.mean()


KERNELS: dict[str, Kernel] = {"inverse_multiquadric": inverse_multiquadric, "rbf": rbf}
ESTIMATORS: dict[str, Callable[[Tensor, float], Tensor]] = {"unbiased": unbiased, "biased": biased}
