"""Diagonal Gaussian posterior."""

from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from latentbench.posteriors.base import Posterior


class GaussianPosterior(Posterior):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)).

    Source: Kingma & Welling 2014, equation 9. log sigma is kept within [-10, 10] so that no scale under- or
    overflows in single precision.
    """

    def __init__(self, *, features: int, latent_size: int) -> None:
        super().__init__(features=features, latent_size=latent_size)
        self.head = nn.Linear(features, 2 * latent_size)

    def forward(self, h: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (D,)."""
        mean, log_scale = self.head(h).chunk(2, dim=-1)
        scale = log_scale.clamp(-10, 10).exp()
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)
