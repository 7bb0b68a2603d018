"""Gaussian distribution with a full covariance matrix."""

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal
from torch.distributions.kl import register_kl

from latentbench.distributions.factorised import Factorised


class FullGaussian(MultivariateNormal):
    """N(m, L L^T), where L is lower triangular with a positive diagonal.

    The noise of the last draw z = m + L e is stored, and the density of this draw is computed from e. Solving for e
    would lose too many digits if L is large and ill-conditioned.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        self._last: tuple[Tensor, Tensor, bool] | None = None  # z, e, and whether z carries gradients
        super().__init__(loc, scale_tril=scale_tril, validate_args=False)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """z = m + L e with e ~ N(0, I)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        e = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        z: Tensor = self.loc + (self.scale_tril @ e[..., None]).squeeze(-1)
        self._last = z, e, torch.is_grad_enabled()
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._last is not None:
            draw, e, has_gradients = self._last
            # If z was drawn without gradients but the density needs them, z is treated like any other point.
            if value is draw and (has_gradients or not torch.is_grad_enabled()):
                log_volume = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
                return -0.5 * (e.square() + math.log(2 * math.pi)).sum(-1) - log_volume
        log_prob: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]
        return log_prob


def _kl_full_gaussian_factorised(q: FullGaussian, p: Factorised) -> Tensor:
    """KL(N(m, L L^T) || N(m_p, diag s^2)) = sum_j ((L L^T)_jj + (m_j - m_pj)^2) / 2 s_j^2 - 1/2 + log s_j / L_jj."""
    if not isinstance(p.base_dist, Normal):
        raise NotImplementedError
    factor = q.scale_tril
    squares = factor.square().sum(-1) + (q.loc - p.mean).square()  # E_q (z_j - m_pj)^2
    log_ratio = p.base_dist.scale.log() - factor.diagonal(dim1=-2, dim2=-1).log()
    return (squares / (2 * p.variance) - 0.5 + log_ratio).sum(-1)


register_kl(FullGaussian, Factorised)(_kl_full_gaussian_factorised)
