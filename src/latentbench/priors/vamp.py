"""Variational mixture of posteriors (VampPrior)."""

from typing import ClassVar

import torch
from torch import nn
from torch.distributions import MixtureSameFamily

from latentbench.distributions.mixture import mixture
from latentbench.distributions.spaces import Space
from latentbench.errors import Refused, check_whole_number
from latentbench.priors.base import Encode, Prior


class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z|u_k), the mixture of the posteriors of K learned pseudo-inputs u_k in [0, 1].

    Raises: Refused if the model has no encoder.
    Source: Tomczak & Welling 2018, equation 9. The paper clips pseudo-inputs to their range. We use a sigmoid, so that
    no pixel stops learning at the edge of the range.
    """

    space: ClassVar[Space | None] = None  # its components are posteriors
    needs_posterior_density: ClassVar[bool] = True
    zero: torch.Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int], components: int) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        check_whole_number("prior.components", components, minimum=1)
        self.pseudo_inputs = nn.Parameter(torch.randn(components, *shape))
        self.register_buffer("zero", torch.zeros(components), persistent=False)

    def forward(self, encode: Encode | None) -> MixtureSameFamily:
        if encode is None:
            raise Refused(
                "a VampPrior is a mixture of an encoder's posteriors, and this model has no encoder: "
                "take prior=normal or prior=laplace"
            )
        return mixture(self.zero, encode(self.pseudo_inputs.sigmoid()))
