"""A kernel density estimate of the training latents."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.errors import UserError, check_number
from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import MAX_DIMENSIONS, principal_components

# The bandwidth h for N latents that vary in C dimensions.
RULES = {
    "scott": lambda n, c: n ** (-1 / (c + 4)),
    "silverman": lambda n, c: (n * (c + 2) / 4) ** (-1 / (c + 4)),
}


class KernelDensitySampler(Sampler):
    """z ~ 1/N sum_i N(z_i, h^2 S): a random training latent z_i plus noise, S being the covariance of the latents.

    bandwidth: h itself or a rule. scott: h = N^(-1/(C + 4)). silverman: h = (N (C + 2) / 4)^(-1/(C + 4)), which is
    optimal for Gaussian latents. Samples have covariance (1 + h^2) S, which is about 2 S in hundreds of dimensions.
    Raises: UserError for any other bandwidth.
    Source: Scott 1992, section 6.3; Silverman 1986, sections 4.2 (S), 4.3 (h) and 6.4 (sampling). This is scipy's
    gaussian_kde, except that C is the dimension of the latents' span: latents in a plane give samples in that plane.
    """

    max_dimensions: ClassVar[float] = MAX_DIMENSIONS

    def __init__(self, *, bandwidth: float | str) -> None:
        if isinstance(bandwidth, str) and bandwidth not in RULES:
            raise UserError(f"sampler.kde.bandwidth={bandwidth}: give {', '.join(RULES)} or a number above 0")
        if not isinstance(bandwidth, str):
            check_number("sampler.kde.bandwidth", bandwidth, above=0)
        self.bandwidth = bandwidth

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        assert latents is not None
        components = principal_components(latents).nonzero()
        rule = self.bandwidth
        h = RULES[rule](len(latents), len(components.scales)) if isinstance(rule, str) else rule
        self.latents, self.root = latents, (h * components.root).to(latents)

    def draw(self, n: int) -> Tensor:
        chosen = self.latents[torch.randint(len(self.latents), (n,), device=self.latents.device)]
        noise = torch.randn(n, self.root.shape[1], dtype=self.root.dtype, device=self.root.device)
        samples: Tensor = chosen + noise @ self.root.T
        return samples
