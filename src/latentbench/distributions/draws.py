"""Draws that teach a prior where they can, and how far apart they are."""

import torch
from torch import Tensor
from torch.distributions import Distribution


def draws(p: Distribution, n: int) -> Tensor:
    """n draws of p, (n, D), with gradients to its parameters where it has rsample."""
    draw = p.rsample if p.has_rsample else p.sample
    return draw(torch.Size([n]))


def spread(p: Distribution) -> float:
    """Expected squared distance of two draws of p: 2 tr Cov[p], which is 2 D for N(0, I).

    That of N(0, I) too where p knows no moments: of a flow, which starts as N(0, I).
    """
    try:
        return 2 * max(p.variance.detach().sum().item(), torch.finfo(torch.float32).tiny)
    except NotImplementedError:
        return 2.0 * p.event_shape[0]
