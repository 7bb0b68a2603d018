"""Maximum mean discrepancy between the codes and the prior."""

from collections.abc import Sequence

from torch import Tensor

from latentbench.errors import UserError
from latentbench.regularizers.base import Latents, Regularizer


class MaximumMeanDiscrepancy(Regularizer):
    """R = MMD^2 between codes z ~ q(z) and as many draws of p(z), unbiased, inverse multiquadric kernels.

    Source: Tolstikhin et al. 2018 (WAE-MMD), algorithm 2, with the scales of the authors' code. No units; the
    unbiased estimate may be negative.
    """

    trains_prior = False

    def __init__(self, *, latent_size: int, scales: Sequence[float]) -> None:
        super().__init__(latent_size=latent_size)
        if not scales or min(scales) <= 0:
            raise UserError(f"regularizer.scales={list(scales)}: give one or more numbers above 0")
        self.scales = tuple(scales)

    def forward(self, latents: Latents) -> Tensor:
        """R."""
        draws = latents.p.sample(latents.z.shape[:1])
        return mmd_squared(latents.z, draws, self.scales)


def mmd_squared(a: Tensor, b: Tensor, scales: Sequence[float]) -> Tensor:
    """Unbiased estimate of MMD^2 = E k(a, a') + E k(b, b') - 2 E k(a, b), a' and b' other members of their set.

    Kernel: k(u, v) = sum_s s C / (s C + |u - v|^2) with C = 2 D, the expected squared distance of two draws of
    N(0, I). Shape: a (N, D), b (M, D). A set of one has no pairs: its own term is then left out (zero).
    """
    return _mean_of_pairs(a, scales) + _mean_of_pairs(b, scales) - 2 * _kernel(a, b, scales).mean()


def _mean_of_pairs(points: Tensor, scales: Sequence[float]) -> Tensor:
    n = len(points)
    if n == 1:
        return points.new_zeros(())
    similarity = _kernel(points, points, scales)
    # k(u, u) = 1 for every scale
    return (similarity.sum() - n * len(scales)) / (n * (n - 1))


def _kernel(a: Tensor, b: Tensor, scales: Sequence[float]) -> Tensor:
    # Written out rather than with torch.cdist, whose gradient is undefined at distance 0.
    squared = (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp(min=0)
    constant = 2.0 * a.shape[1]
    terms = [s * constant / (s * constant + squared) for s in scales]
    return sum(terms[1:], start=terms[0])
