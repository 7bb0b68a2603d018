"""A kernel density estimate of the training latents."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.errors import UserError, check_number
from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import principal_components

# h for N latents that vary in C dimensions.
RULES = {
    "scott": lambda n, c: n ** (-1 / (c + 4)),
    "silverman": lambda n, c: (n * (c + 2) / 4) ** (-1 / (c + 4)),
}


class KernelDensitySampler(Sampler):
    """z ~ 1/N sum_i N(z_i, h^2 S): a training latent and noise of the covariance S of all of them, in small.

    bandwidth: h itself, or a rule: scott, h = N^(-1/(C + 4)); silverman, h = (N (C + 2) / 4)^(-1/(C + 4)), which is
    best for Gaussian latents. Draws have covariance (1 + h^2) S, twice that of the latents in hundreds of dimensions.
    Raises: UserError for another bandwidth.
    Source: Scott 1992, section 6.3; Silverman 1986, sections 4.2 (S), 4.3 (h) and 6.4 (draws). As in scipy's
    gaussian_kde, but that C counts the dimensions of the latents' span: where they lie in a plane, so do the draws,
    and the estimate is of a density in that plane.
    """

    def __init__(self, *, bandwidth: float | str) -> None:
        if isinstance(bandwidth, str) and bandwidth not in RULES:
            raise UserError(f"sampler.kde.bandwidth={bandwidth}: give {', '.join(RULES)} or a number above 0")
        if not isinstance(bandwidth, str):
            check_number("sampler.kde.bandwidth", bandwidth, above=0)
        self.bandwidth = bandwidth

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Keep the latents; the bandwidth and the square root of S, in float64."""
        assert latents is not None
        components = principal_components(latents).alive()
        rule = self.bandwidth
        h = RULES[rule](len(latents), len(components.scales)) if isinstance(rule, str) else rule
        self.latents, self.root = latents, (h * components.root).to(latents)

    def draw(self, n: int) -> Tensor:
        """n latents (n, D)."""
        chosen = self.latents[torch.randint(len(self.latents), (n,), device=self.latents.device)]
        noise = torch.randn(n, self.root.shape[1], dtype=self.root.dtype, device=self.root.device)
        drawn: Tensor = chosen + noise @ self.root.T
        return drawn
