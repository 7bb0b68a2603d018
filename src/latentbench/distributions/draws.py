"""Draws that teach the prior where they can."""

import torch
from torch import Tensor
from torch.distributions import Distribution


def draws(p: Distribution, n: int) -> Tensor:
    """n draws of p, (n, D), with gradients to its parameters where it has rsample."""
    draw = p.rsample if p.has_rsample else p.sample
    return draw(torch.Size([n]))
