"""Categorical likelihood of 256 grey levels."""

import torch
from torch import Tensor

from latentbench.likelihoods.base import PixelDistribution
from latentbench.likelihoods.levels import LAST, LEVELS, LevelsLikelihood, draw_index, level_of


class CategoricalPixels(PixelDistribution):
    """Independent pixels with a logit for each of 256 grey levels.

    Shape: raw (..., B, 256 C, H, W).
    """

    def __init__(self, raw: Tensor) -> None:
        super().__init__(raw, channels=raw.shape[-3] // LEVELS)
        self.log_weights = raw.unflatten(-3, (-1, LEVELS)).log_softmax(-3)  # (..., B, C, 256, H, W)

    @property
    def mean(self) -> Tensor:
        pixels = torch.arange(LEVELS, dtype=self.raw.dtype, device=self.raw.device) / LAST
        mean: Tensor = (self.log_weights.exp() * pixels[:, None, None]).sum(-3)
        return mean

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        log_weights = self.log_weights.detach().expand(torch.Size(sample_shape) + self.log_weights.shape)
        return draw_index(log_weights, -3).squeeze(-3).to(log_weights.dtype) / LAST

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels, as a probability of 256 levels."""
        level = level_of(value).long().expand(torch.broadcast_shapes(value.shape, self._extended_shape()))
        log_weights = self.log_weights.expand(*level.shape[:-2], LEVELS, *level.shape[-2:])
        log_prob: Tensor = log_weights.gather(-3, level.unsqueeze(-3)).squeeze(-3).flatten(-3).sum(-1)
        return log_prob


class CategoricalLikelihood(LevelsLikelihood):
    """P(x|z) = prod_pixels softmax(raw)_k, k the level of x. Source: van den Oord et al. 2016 (PixelRNN)."""

    def raw_channels(self, channels: int) -> int:
        return LEVELS * channels

    def forward(self, raw: Tensor) -> CategoricalPixels:
        return CategoricalPixels(raw)
