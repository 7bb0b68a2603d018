"""Distributions with independent coordinates."""

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence


class Factorised(Independent[Distribution]):
    """p(z) = prod_j p_j(z_j), with event shape (D,), built from `factors` with batch shape (..., D)."""

    def __init__(self, factors: Distribution) -> None:
        super().__init__(factors, 1, validate_args=False)

    def factor_log_prob(self, value: Tensor) -> Tensor:
        """log p_j(z_j), nats, (..., D)."""
        log_prob: Tensor = self.base_dist.log_prob(value)
        return log_prob

    def factor_kl(self, other: "Factorised") -> Tensor:
        """KL(p_j || other_j), nats, (..., D). Raises: NotImplementedError if it has no closed form."""
        return kl_divergence(self.base_dist, other.base_dist)
