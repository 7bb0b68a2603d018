"""The contract of a prior: a fixed or learned distribution over latents."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution

Encode = Callable[[Tensor], Distribution]


class Prior(nn.Module, ABC):
    """forward(encode) -> p(z) with batch shape () and event shape (D,).

    `encode` maps images to q(z|x) and lets a prior look at the encoder; a model without an encoder gives None.
    """

    needs_posterior_density = False

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.shape = shape

    @property
    def is_learned(self) -> bool:
        """Whether it owns parameters."""
        return any(True for _ in self.parameters())

    @abstractmethod
    def forward(self, encode: Encode | None) -> Distribution:
        """Distribution of the latents."""
