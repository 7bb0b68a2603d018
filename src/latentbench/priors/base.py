"""The contract of a prior: a fixed or learned distribution over latents."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.spaces import REAL, Space

Encode = Callable[[Tensor], Distribution]


class Prior(nn.Module, ABC):
    """Gives the distribution p(z) of the latents.

    To add one, subclass Prior, declare the class attributes that differ from the defaults below, and implement
    `forward`. For independent coordinates of one family, subclass IndependentPrior instead. Requirements:
    - p has batch shape () and event shape (coordinates,), `sample`, and a `log_prob` in nats;
    - `forward` is called for every batch and reads the current parameters; parameters of the module make the prior
      learned, and are trained together with the networks;
    - tensors that are not learned are buffers, registered with persistent=False, so that p is on the model's device.

    latent_size: dimension of the latent space.
    shape: (C, H, W) of the images.
    """

    space: ClassVar[Space | None] = REAL  # the space that its draws lie in; None: the same as that of the posterior
    has_rsample: ClassVar[bool] = False  # True if p.rsample exists and its gradients reach all parameters of the prior
    is_factorised: ClassVar[bool] = False  # True if p has factor_log_prob and factor_kl
    needs_posterior_density: ClassVar[bool] = False  # True if p is built from densities q(z|x)
    classes: int = 0  # classes per group of a code word; 0 if latents are not code words

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.coordinates = latent_size  # length D of a latent vector
        self.shape = shape

    @property
    def is_learned(self) -> bool:
        """True if the prior has parameters."""
        return any(True for _ in self.parameters())

    def midpoint(self, start: Tensor, end: Tensor) -> Tensor:
        """Return the latents half-way from start to end, all (B, D), on a path that suits p: here, a straight line."""
        return (start + end) / 2

    def interpolate(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        """Return the latents at t in [0, 1] of the same path, all (B, D)."""
        return (1 - t) * start + t * end

    @abstractmethod
    def forward(self, encode: Encode | None) -> Distribution:
        """Return p(z).

        encode: maps images (N, C, H, W) to q(z|x), for priors built from the encoder; None if the model has no encoder.
        """
