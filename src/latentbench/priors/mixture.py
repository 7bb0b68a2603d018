"""Learned mixture of Gaussians prior."""

import torch
from torch import nn
from torch.distributions import MixtureSameFamily, Normal

from latentbench.distributions.factorised import Factorised
from latentbench.distributions.mixture import mixture
from latentbench.errors import check_whole_number
from latentbench.priors.base import Encode, Prior


class MixturePrior(Prior):
    """p(z) = sum_k w_k N(z; m_k, diag(s_k^2)) with learned weights, means and scales.

    Means are initialized from N(0, I), scales with 1, and weights are equal.
    Source: Tomczak & Welling 2018, section 4 (the mixture-of-Gaussians baseline).
    """

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int], components: int) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        check_whole_number("prior.components", components, minimum=1)
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_size))
        self.log_scales = nn.Parameter(torch.zeros(components, latent_size))

    def forward(self, encode: Encode | None) -> MixtureSameFamily:
        scales = self.log_scales.clamp(-10, 10).exp()
        return mixture(self.logits, Factorised(Normal(self.means, scales, validate_args=False)))
