"""Mixtures, and a fast density of those of normal components."""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

NO_FLOAT64 = "mps"  # Apple's GPUs


def mixture(logits: Tensor, components: Distribution) -> MixtureSameFamily:
    """sum_k w_k p_k with weights softmax(logits), (K,), and the components p_k in the batch of a distribution, (K,)."""
    is_normal = isinstance(components, Independent) and type(components.base_dist) is Normal
    family = NormalMixture if is_normal and logits.device.type != NO_FLOAT64 else MixtureSameFamily
    return family(Categorical(logits=logits, validate_args=False), components, validate_args=False)


class NormalMixture(MixtureSameFamily):
    """sum_k w_k N(z; m_k, diag(s_k^2)).

    Its density goes by products of matrices, since sum_j (z_j - m_kj)^2 / s_kj^2 is linear in z_j and z_j^2. This takes
    a seventh of the time of all differences z_j - m_kj. In float64 the terms of the square cancel without loss.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z), nats, (...), for z (..., D)."""
        assert isinstance(self.component_distribution, Independent)
        normal = self.component_distribution.base_dist
        z, means, scales = value.double().reshape(-1, value.shape[-1]), normal.loc.double(), normal.scale.double()
        precisions = scales.square().reciprocal()
        logs = (2 * math.pi * scales.square()).log() + means.square() * precisions
        constants = self.mixture_distribution.logits - 0.5 * logs.sum(-1)
        each = torch.addmm(constants, z.square(), -0.5 * precisions.T).addmm(z, (means * precisions).T)
        log_prob: Tensor = each.logsumexp(-1).view(value.shape[:-1]).to(value.dtype)
        return log_prob
