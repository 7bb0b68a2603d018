"""Probabilities of 256 grey levels, and the logistic distribution rounded to them."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from latentbench.likelihoods.base import Likelihood, not_of_binary

LEVELS = 256
LAST = LEVELS - 1


class LevelsLikelihood(Likelihood):
    """A likelihood whose `log_prob` is a log-probability of grey levels k = 0 ... 255 of pixels x = k / 255."""

    levels: ClassVar[int | None] = LEVELS

    def not_a_density_of(self, *, binary: bool) -> str | None:
        return not_of_binary("this likelihood is a probability of 256 grey levels", binary=binary)


def level_of(x: Tensor) -> Tensor:
    """The grey levels of pixels in [0, 1], as floats."""
    return (x * LAST).round()


def logistic_log_prob(level: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log P(k), P(k) = F((k + 1/2 - m) / s) - F((k - 1/2 - m) / s), with F = sigmoid; 0 and 255 have the tails, too.

    F(b) - F(a) = F(b) F(-a) (1 - exp(a - b)), of which all factors keep their digits where the difference would lose
    them, in the tails and where s is large. The published code takes an approximation there.
    Shape: all broadcast; location m and scale s in levels. Units: nats. Source: Salimans et al. 2017, section 2.1.
    """
    inverse = (-log_scale).exp()
    below = logsigmoid((level + 0.5 - location) * inverse)
    above = logsigmoid((location - level + 0.5) * inverse)
    width = torch.log(-torch.expm1(-inverse))
    is_first, is_last = level < 0.5, level > LAST - 0.5
    return below.where(~is_last, 0) + above.where(~is_first, 0) + width.where(~(is_first | is_last), 0)


def logistic_mean(location: Tensor, log_scale: Tensor) -> Tensor:
    """Mean of a logistic variable clipped to the levels 0 to 255: s (softplus(m / s) - softplus((m - 255) / s)).

    The mean of its rounded values differs by half a level at most, by less than 1/40 where s is half a level or more.
    Shape: all broadcast; all in levels.
    """
    scale = log_scale.exp()
    return scale * (softplus(location / scale) - softplus((location - LAST) / scale))


def draw_logistic(location: Tensor, log_scale: Tensor) -> Tensor:
    """Levels drawn from logistic variables, rounded and clipped. Shape: broadcast to that of the location."""
    u = torch.rand_like(location)
    noise = u.logit(eps=torch.finfo(u.dtype).eps / 4)  # u may be 0
    return (location + log_scale.exp() * noise).round().clamp(0, LAST)


def draw_index(log_weights: Tensor, dim: int) -> Tensor:
    """Indices drawn with the given log-probabilities along a dimension, which is kept, with size 1."""
    gumbel = -torch.empty_like(log_weights).exponential_().log()
    return (log_weights + gumbel).argmax(dim, keepdim=True)
