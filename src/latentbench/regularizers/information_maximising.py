"""KL divergence and maximum mean discrepancy combined (InfoVAE)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from latentbench.errors import check_number
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import kl_per_image
from latentbench.regularizers.maximum_mean_discrepancy import MaximumMeanDiscrepancy


class InformationMaximising(Regularizer):
    """R = (1 - alpha) E_x KL(q(z|x) || p(z)) + (alpha + lambda - 1) MMD^2(q(z), p(z)).

    alpha is the weight of the mutual information of images and codes. alpha = 0 and lambda = 1 is a VAE.
    A kernel of scale s has width w = s C D / 2, where C is the expected squared distance between two samples of p. With
    scale 1 and p = N(0, I), for which C = 2 D, the kernel rbf is exp(-|a-b|^2 / D^2), that of the authors' code.
    Units: the KL divergence in nats, the MMD without units.
    Source: Zhao et al. 2019 (InfoVAE), section 3.2, with the MMD as the divergence, as in the paper.
    """

    trains_prior = "density"
    needs_density: ClassVar[bool] = True

    def __init__(
        self,
        *,
        latent_size: int,
        alpha: float,
        lambda_: float,
        kernel: str,
        scales: Sequence[float],
        estimator: str,
    ) -> None:
        super().__init__(latent_size=latent_size)
        check_number("regularizer.alpha", alpha)
        check_number("regularizer.lambda_", lambda_)
        self.weights = (1 - alpha, alpha + lambda_ - 1)
        self.mmd = MaximumMeanDiscrepancy(latent_size=latent_size, kernel=kernel, scales=scales, estimator=estimator)
        self.mmd.scales = tuple(scale * latent_size / 2 for scale in self.mmd.scales)

    def forward(self, latents: Latents) -> Tensor:
        kl = kl_per_image(latents.q, latents.p, latents.z).mean()
        mmd: Tensor = self.mmd(latents)
        return self.weights[0] * kl + self.weights[1] * mmd

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        return super().refuses(posterior=posterior, prior=prior) or self.mmd.refuses(posterior=posterior, prior=prior)
