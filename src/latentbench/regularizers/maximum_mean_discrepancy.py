"""Maximum mean discrepancy between the codes and the prior."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentbench.errors import UserError
from latentbench.regularizers.base import Latents, Regularizer

Kernel = Callable[[Tensor, float], Tensor]


class MaximumMeanDiscrepancy(Regularizer):
    """R = MMD^2 between codes z ~ q(z) and as many draws of p(z), kernels of several scales summed.

    The width of the kernel of scale s is s C, with C the expected squared distance of two draws of p, 2 D for N(0, I).
    No units; the unbiased estimate may be negative. Raises: UserError for names and scales that there are not.
    Source: Tolstikhin et al. 2018 (WAE-MMD), algorithm 2, with the scales of the authors' code; the estimators are
    Gretton et al. 2012, equations 3 (unbiased) and 5 (biased).
    """

    trains_prior = "draws"

    def __init__(self, *, latent_size: int, kernel: str, scales: Sequence[float], estimator: str) -> None:
        super().__init__(latent_size=latent_size)
        if kernel not in KERNELS:
            raise UserError(f"regularizer.kernel={kernel}: choose one of {', '.join(KERNELS)}")
        if estimator not in ESTIMATORS:
            raise UserError(f"regularizer.estimator={estimator}: choose one of {', '.join(ESTIMATORS)}")
        given = [scales] if isinstance(scales, str) or not isinstance(scales, Sequence) else list(scales)
        if not given or not all(type(scale) in (int, float) and 0 < scale < math.inf for scale in given):
            raise UserError(f"regularizer.scales={given}: give one or more numbers above 0")
        self.kernel, self.scales, self.estimator = kernel, tuple(given), estimator

    def forward(self, latents: Latents) -> Tensor:
        """R."""
        widths = [scale * latents.spread() for scale in self.scales]
        return mmd_squared(latents.z, latents.draws(), kernel=self.kernel, widths=widths, estimator=self.estimator)


def mmd_squared(a: Tensor, b: Tensor, *, kernel: str, widths: Sequence[float], estimator: str) -> Tensor:
    """Estimate of MMD^2 = E k(a, a') + E k(b, b') - 2 E k(a, b), with k(u, v) = sum_w k_w(|u - v|^2).

    Shape: a (N, D), b (M, D); result ().
    """
    kind, own = KERNELS[kernel], ESTIMATORS[estimator]

    def similarity(u: Tensor, v: Tensor) -> Tensor:
        squared = squared_distances(u, v)
        terms = [kind(squared, width) for width in widths]
        return sum(terms[1:], start=terms[0])

    of_a, of_b = (own(similarity(points, points), float(len(widths))) for points in (a, b))
    return of_a + of_b - 2 * similarity(a, b).mean()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2, shape (N, M) for a (N, D) and b (M, D).

    Rounding errors are those of |a|^2 and |b|^2: a point is not quite at distance 0 from itself.
    """
    # torch.cdist without such errors takes seven times as long with 512 dimensions.
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp(min=0)


def inverse_multiquadric(squared: Tensor, width: float) -> Tensor:
    """w / (w + |u - v|^2)."""
    return width / (width + squared)


def rbf(squared: Tensor, width: float) -> Tensor:
    """exp(-|u - v|^2 / w)."""
    return torch.exp(-squared / width)


def unbiased(similarity: Tensor, to_itself: float) -> Tensor:
    """Mean over the pairs of different points of a set, whose similarities are (N, N); nothing (0) for a set of one."""
    n = len(similarity)
    if n == 1:
        return similarity.new_zeros(())
    return (similarity.sum() - n * to_itself) / (n * (n - 1))


def biased(similarity: Tensor, to_itself: float) -> Tensor:
    """Mean over all pairs of a set, those of a point with itself included: MMD^2 is then never negative."""
    return similarity.mean()


KERNELS: dict[str, Kernel] = {"inverse_multiquadric": inverse_multiquadric, "rbf": rbf}
ESTIMATORS: dict[str, Callable[[Tensor, float], Tensor]] = {"unbiased": unbiased, "biased": biased}
