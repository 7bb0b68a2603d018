"""The contract of a posterior: from the encoder's features to a distribution over latents."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution


class Posterior(nn.Module, ABC):
    """forward(h: (B, F)) -> q(z|x) with batch shape (B,) and event shape (D,), sampled with gradients."""

    has_density: ClassVar[bool] = True  # whether q.log_prob exists

    def __init__(self, *, features: int, latent_size: int) -> None:
        super().__init__()
        self.features = features
        self.latent_size = latent_size

    @abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Distribution of the latents given the encoder's features."""
