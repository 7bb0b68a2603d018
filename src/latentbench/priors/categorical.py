"""Uniform categorical prior."""

from typing import ClassVar

import torch
from torch import Tensor

from latentbench.distributions.one_hot import OneHot
from latentbench.distributions.spaces import CODES, Space
from latentbench.errors import check_whole_number
from latentbench.priors.base import Encode, Prior


class CategoricalPrior(Prior):
    """p(z) = K^-G: uniform over G = latent_size groups, each a one-hot vector of K = `classes` numbers.

    Source: Jang et al. 2017, section 4.2.
    """

    space: ClassVar[Space] = CODES
    is_factorised: ClassVar[bool] = True
    zero: Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.classes = check_whole_number("prior.classes", classes, minimum=2)
        self.coordinates = latent_size * classes
        self.register_buffer("zero", torch.zeros(latent_size, classes), persistent=False)

    def forward(self, encode: Encode | None) -> OneHot:
        return OneHot(self.zero)
