"""A mixture of Gaussians fitted to the training latents."""

from typing import ClassVar

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, Distribution

from latentbench.errors import check_whole_number
from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import principal_components


class GaussianMixtureSampler(Sampler):
    """z ~ sum_k w_k N(m_k, S_k) with full covariances, fitted by expectation maximization, initialized by k-means.

    Fewer latents than dimensions lie in a subspace, and the mixture does, too.
    Source: Ghosh et al. 2020 (RAE), section 4, "ex-post density estimation", with 10 components.
    """

    max_dimensions: ClassVar[float] = 1024

    def __init__(self, *, components: int) -> None:
        self.components = check_whole_number("sampler.gmm.components", components, minimum=1)
        self.min_latents = max(2, components)

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Fit in float64 to standardized latents, since scikit-learn's regularization of covariances is absolute."""
        assert latents is not None
        self.dtype = latents.dtype
        exact = latents.double()
        self.subspace = principal_components(latents) if len(latents) < latents.shape[1] else None
        if self.subspace:
            exact = (exact - self.subspace.mean) @ self.subspace.vectors
        centre, unit = exact.mean(0), exact.std(0).clamp(min=1e-12)
        scaled = ((exact - centre) / unit).cpu().numpy()
        fitted = GaussianMixture(self.components, random_state=seed, max_iter=200).fit(scaled)
        parameters = (fitted.weights_, fitted.means_, fitted.covariances_)
        weights, means, covariances = (torch.from_numpy(array).to(latents.device) for array in parameters)
        # Also in float64: rounding to float32 may leave a nearly singular covariance without a Cholesky factor.
        self.weights, self.means = Categorical(weights), means * unit + centre
        self.roots = torch.linalg.cholesky(covariances * torch.outer(unit, unit))

    def draw(self, n: int) -> Tensor:
        """The draws of torch's MixtureSameFamily, which needs memory for a covariance matrix of every draw."""
        component = self.weights.sample((n,))
        noise = torch.randn(n, *self.means.shape, dtype=self.means.dtype, device=self.means.device)
        samples = self.means[component]
        for k, root in enumerate(self.roots):
            samples[component == k] += noise[component == k, k] @ root.T
        if self.subspace:
            samples = self.subspace.mean + samples @ self.subspace.vectors.T
        return samples.to(self.dtype)
