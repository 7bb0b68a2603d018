"""Standard normal distributions."""

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions.kl import register_kl


class StandardNormal(Normal):
    """N(0, 1) of independent coordinates, in the shape, dtype and device of `zero`."""

    def __init__(self, zero: Tensor) -> None:
        super().__init__(zero, torch.ones_like(zero), validate_args=False)


def kl_from_normal(q: Normal, p: StandardNormal) -> Tensor:
    """KL(N(m, s^2) || N(0, 1)) = (s^2 + m^2 - 1 - log s^2) / 2, nats.

    The terms and their order are torch's for two normal distributions, without a shift by 0 and two divisions by 1, so
    that the result has the same bits.
    """
    variance = q.scale.square()
    return 0.5 * (variance + q.loc.square() - 1 - variance.log())


register_kl(Normal, StandardNormal)(kl_from_normal)
