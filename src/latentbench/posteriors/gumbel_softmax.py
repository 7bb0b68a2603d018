"""Categorical posterior that is trained with relaxed draws."""

from typing import ClassVar

from latentbench.distributions.one_hot import GumbelOneHot, RelaxedOneHot
from latentbench.posteriors.categorical import CategoricalPosterior


class GumbelSoftmaxPosterior(CategoricalPosterior):
    """q(z|x) as of `CategoricalPosterior`; draws in training are those of the Gumbel-softmax at `temperature`.

    These lie between code words, so that the losses of training and of validation are of a relaxed model. All that is
    measured is of one-hot draws.
    Source: Jang et al. 2017, section 2.
    """

    has_relaxed_draws: ClassVar[bool] = True
    distribution: ClassVar[type[GumbelOneHot]] = RelaxedOneHot
