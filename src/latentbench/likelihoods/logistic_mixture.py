"""Mixtures of discretized logistic distributions, whose channels depend on each other."""

import math

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.likelihoods.base import PixelDistribution
from latentbench.likelihoods.levels import (
    LAST,
    LevelsLikelihood,
    draw_index,
    draw_logistic,
    level_of,
    logistic_log_prob,
    logistic_mean,
)

# Of log scales, where pixels are in [-1, 1]: the lowest is the published code's. Above the highest a wider
# distribution would no longer make a difference: nearly all of it is in the levels 0 and 255.
LOG_SCALES = (-7.0, 7.0)


def quantiles(channel: int, channels: int, like: Tensor) -> Tensor:
    """Noise (N,) of a channel, at which means over channels are computed: logits of points between 0 and 1.

    Together with those of other channels they are a Korobov lattice. Of 300 pixels of one component, with strongly
    dependent channels, the worst mean is off by 5 grey levels with three channels, 2 with four and 8 with six; the root
    mean squares are 0.3, 0.2 and 0.6.
    """
    n, step = (16, 5) if channels <= 3 else (64, 25)
    index = torch.arange(n, dtype=like.dtype, device=like.device)
    return ((index * pow(step, channel, n) % n + 0.5) / n).logit()


class LogisticMixturePixels(PixelDistribution):
    """Each pixel is from one of K components, in which a channel is logistic around a linear function of those before.

    Shape: raw (..., B, K (C + 1) (C + 2) / 2, H, W): of each component a logit, C locations, C log scales and
    C (C - 1) / 2 coefficients. Locations and scales are of pixels in [-1, 1].
    """

    def __init__(self, raw: Tensor, *, components: int) -> None:
        numbers = raw.shape[-3] // components
        channels = (math.isqrt(8 * numbers + 1) - 3) // 2  # solves numbers = (C + 1) (C + 2) / 2
        super().__init__(raw, channels=channels)
        parts = raw.unflatten(-3, (components, numbers)).split([1, channels, channels, numbers - 1 - 2 * channels], -3)
        logits, self.locations, log_scales, coefficients = parts  # (..., B, K, ·, H, W)
        self.log_weights = logits.squeeze(-3).log_softmax(-3)
        self.log_scales = log_scales.clamp(*LOG_SCALES) + math.log(LAST / 2)  # in levels
        self.coefficients = coefficients.tanh()

    def location(self, channel: int, before: list[Tensor]) -> Tensor:
        """m_c + sum_j a_cj x_j in levels, (..., B, K, H, W), given the levels of the channels j < c."""
        location: Tensor = self.locations[..., channel, :, :]
        first = channel * (channel - 1) // 2
        for j, level in enumerate(before):
            location = location + self.coefficients[..., first + j, :, :] * (2 * level / LAST - 1)
        return (location + 1) * LAST / 2

    @property
    def mean(self) -> Tensor:
        """Sum of w_k E_k[x_c], E_k[x_c] = E_k[E_k[x_c | x_1 ... x_(c-1)]], the inner mean that of `logistic_mean`.

        Since the range of pixels cuts off the channels before, the outer mean has no closed form: it is that over
        N fixed quantiles of their noise.
        """
        means: list[Tensor] = []
        levels: list[Tensor] = []  # of each channel but the last, (N, ..., B, K, H, W)
        channels = self.event_shape[0]
        for channel in range(channels):
            location, log_scale = self.location(channel, levels), self.log_scales[..., channel, :, :]
            of_location = logistic_mean(location, log_scale)
            means.append(of_location.mean(0) if levels else of_location)
            if channel < channels - 1:
                noise = quantiles(channel, channels, self.raw).view(-1, *[1] * self.log_weights.dim())
                clipped = (location + log_scale.exp() * noise).clamp(0, LAST)
                levels.append(clipped + means[-1] - clipped.mean(0))  # what is linear in them has its exact mean
        weights = self.log_weights.exp().unsqueeze(-3)
        mean: Tensor = (weights * torch.stack(means, -3)).sum(-4) / LAST
        return mean

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape)
        levels: list[Tensor] = []  # of each channel, in every component
        for channel in range(self.event_shape[0]):
            location = self.location(channel, levels).detach()
            location = location.expand(shape + self.log_weights.shape)
            levels.append(draw_logistic(location, self.log_scales[..., channel, :, :].detach()))
        of_components = torch.stack(levels, -3)
        component = draw_index(self.log_weights.detach().expand(shape + self.log_weights.shape), -3).unsqueeze(-3)
        return of_components.take_along_dim(component, -4).squeeze(-4) / LAST

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels, as a probability of 256 levels."""
        levels = list(level_of(value).unsqueeze(-4).unbind(-3))  # of each channel (..., B, 1, H, W)
        log_prob: Tensor = self.log_weights
        for channel, level in enumerate(levels):
            location = self.location(channel, levels[:channel])
            log_prob = log_prob + logistic_log_prob(level, location, self.log_scales[..., channel, :, :])
        return log_prob.logsumexp(-3).flatten(-2).sum(-1)


class LogisticMixtureLikelihood(LevelsLikelihood):
    """P(x|z) = prod_pixels sum_k w_k prod_c P_k(x_c | x_1 ... x_(c-1)), P_k a logistic rounded to 256 levels.

    Its location is m_c + sum_(j < c) a_cj x_j, |a_cj| < 1; the levels 0 and 255 have the tails.
    Raises: UserError for less than one component.
    Source: Salimans et al. 2017, sections 2.1 and 2.2; bounds of scales and coefficients as in the authors' code. There
    pixels have three channels; here any number.
    """

    def __init__(self, *, components: int) -> None:
        super().__init__()
        self.components = check_whole_number("likelihood.components", components, minimum=1)

    def raw_channels(self, channels: int) -> int:
        return self.components * (channels + 1) * (channels + 2) // 2

    def forward(self, raw: Tensor) -> LogisticMixturePixels:
        return LogisticMixturePixels(raw, components=self.components)
