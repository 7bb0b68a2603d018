"""Variational mixture of posteriors."""

from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily

from latentbench.distributions.spaces import Space
from latentbench.errors import Refused, check_whole_number
from latentbench.priors.base import Encode, Prior


class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z|u_k), the mixture of the posteriors of K learned pseudo-inputs u_k in [0, 1].

    Source: Tomczak & Welling 2018, equation 9. We keep the pseudo-inputs in range with a sigmoid where the paper
    clips them, so that none stops learning at the edge.
    """

    space: ClassVar[Space | None] = None  # its components are the encoder's
    needs_posterior_density: ClassVar[bool] = True
    zero: torch.Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int], components: int) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        check_whole_number("prior.components", components, minimum=1)
        self.pseudo_inputs = nn.Parameter(torch.randn(components, *shape))
        self.register_buffer("zero", torch.zeros(components), persistent=False)

    def forward(self, encode: Encode | None) -> MixtureSameFamily:
        """p(z), event shape (D,). Raises: Refused without an encoder."""
        if encode is None:
            raise Refused(
                "a VampPrior is made of an encoder's posteriors, and this model has no encoder: "
                "take prior=normal or prior=laplace"
            )
        return MixtureSameFamily(
            Categorical(logits=self.zero), encode(self.pseudo_inputs.sigmoid()), validate_args=False
        )
