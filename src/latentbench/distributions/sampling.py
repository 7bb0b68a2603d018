"""Sampling with gradients where possible, and the spread of a distribution."""

import torch
from torch import Tensor
from torch.distributions import Distribution


def sample_with_gradients(p: Distribution, n: int) -> Tensor:
    """n samples of p, (n, D). They carry gradients to the parameters of p if p has rsample."""
    sample = p.rsample if p.has_rsample else p.sample
    return sample(torch.Size([n]))


def expected_squared_distance(p: Distribution, *, draws: Tensor | None = None) -> Tensor | float:
    """Expected squared distance between two samples of p: 2 tr Cov[p], which is 2 D for N(0, I).

    If p has no closed-form variance, as for a flow, this is the value of its draws (N, D), or, if none are given, that
    of N(0, I), from which a flow starts.
    """
    try:
        total = p.variance.detach().sum()
    except NotImplementedError:
        return 2.0 * p.event_shape[0] if draws is None else 2 * draws.var(0).sum()
    if total.device.type != "mps":  # which has no double precision
        total = total.double()  # for the products with it
    return 2 * total.clamp(min=torch.finfo(torch.float32).tiny)
