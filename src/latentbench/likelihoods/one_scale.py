"""Likelihoods with one scale for all pixels."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentbench.errors import UserError
from latentbench.likelihoods.base import Likelihood

MIN_LOG_SCALE = -6.0
# Adam changes every parameter by about its learning rate per step. This factor lets the scale converge within the
# first few hundred steps; without it, the scale would lag behind the decoder for thousands of steps.
LOG_SCALE_SPEED = 10.0


class OneScaleLikelihood(Likelihood):
    """A likelihood with one scale, of pixel values in [0, 1], which is fixed or learned.

    Raises: UserError if the scale is neither `learned` nor a number above 0.
    Source: Rybkin et al. 2021 (sigma-VAE), with the paper's soft lower bound on the learned log scale.
    """

    def __init__(self, *, scale: float | str) -> None:
        super().__init__()
        self.is_learned = scale == "learned"
        if self.is_learned:
            self.parameter = nn.Parameter(torch.zeros(()))
        elif isinstance(scale, int | float) and 0 < scale < math.inf:
            self.register_buffer("fixed_log_scale", torch.tensor(math.log(scale)))
        else:
            raise UserError(f"likelihood.scale={scale}: give `learned` or a number above 0")

    def current_log_scale(self) -> Tensor:
        """The logarithm of the scale, a scalar."""
        if not self.is_learned:
            assert isinstance(self.fixed_log_scale, Tensor)
            return self.fixed_log_scale
        return MIN_LOG_SCALE + softplus(LOG_SCALE_SPEED * self.parameter - MIN_LOG_SCALE)

    def facts(self) -> dict[str, Any]:
        return {"likelihood_scale": self.current_log_scale().exp().item()}
