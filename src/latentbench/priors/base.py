"""The contract of a prior: a fixed or learned distribution over latents."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.spaces import REAL, Space

Encode = Callable[[Tensor], Distribution]


class Prior(nn.Module, ABC):
    """forward(encode) -> p(z) with batch shape () and event shape (coordinates,).

    `encode` maps images to q(z|x) and lets a prior look at the encoder; a model without an encoder gives None.
    """

    space: ClassVar[Space | None] = REAL  # where its draws lie; None: where the posterior's do
    has_rsample: ClassVar[bool] = False  # whether draws carry gradients to all of its parameters
    is_factorised: ClassVar[bool] = False  # whether p has factor_log_prob and factor_kl
    needs_posterior_density: ClassVar[bool] = False
    classes: int = 0  # of each group, in the space of codes

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.coordinates = latent_size  # numbers that a latent is given by
        self.shape = shape

    @property
    def is_learned(self) -> bool:
        """Whether it owns parameters."""
        return any(True for _ in self.parameters())

    def halfway(self, start: Tensor, end: Tensor) -> Tensor:
        """Latents (B, D) in the middle of the way between two where p is at home: here, of a straight line."""
        return (start + end) / 2

    @abstractmethod
    def forward(self, encode: Encode | None) -> Distribution:
        """Distribution of the latents."""
