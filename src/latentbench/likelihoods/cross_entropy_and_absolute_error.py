"""Cross-entropy plus absolute error, a data term without a normalizing constant."""

from torch import Tensor

from latentbench.likelihoods.base import Likelihood
from latentbench.likelihoods.bernoulli import BernoulliPixels


class CrossEntropyAndAbsoluteErrorPixels(BernoulliPixels):
    """log p(x) = sum x l - softplus(l) - |x - sigmoid(l)| up to a constant that depends on l, for logits l = raw."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the cross-entropy and the absolute error, summed over pixels; not a log-probability."""
        return super().log_prob(value) - (value - self.mean).abs().flatten(-3).sum(-1)


class CrossEntropyAndAbsoluteErrorLikelihood(Likelihood):
    """-log p(x|z) = sum over pixels of cross-entropy and absolute error. Source: the code of Kolouri et al. 2019."""

    def forward(self, raw: Tensor) -> CrossEntropyAndAbsoluteErrorPixels:
        return CrossEntropyAndAbsoluteErrorPixels(raw)

    def not_a_density_of(self, *, binary: bool) -> str | None:
        density = "bernoulli" if binary else "continuous_bernoulli"
        return f"cross-entropy plus absolute error is a published loss, not a density: take likelihood={density}"
