"""Vector-quantized posterior."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.one_hot import OneHot
from latentbench.distributions.quantized import CodebookEntries, Quantized
from latentbench.distributions.spaces import CODES, Space
from latentbench.errors import check_number, check_whole_number
from latentbench.posteriors.base import Posterior


class VectorQuantizedPosterior(Posterior):
    """z = the entries of a learned codebook nearest to the encoder's vectors: latent_size groups, a codebook each.

    own loss = E_x sum_g |sg(v_g) - e_g|^2 + commitment |v_g - sg(e_g)|^2, v of the encoder, e the nearest entry, sg
    without gradient; summed over groups and `code_size`, averaged over the batch. The decoder's gradient goes to v.
    Entries start as N(0, 0.1^2), among the vectors of an encoder that has not learned anything yet.
    Source: van den Oord et al. 2017, equation 3. There one codebook serves all positions of a map; the groups of a
    vector are not alike.
    """

    space: ClassVar[Space] = CODES
    has_density: ClassVar[bool] = False
    has_moments: ClassVar[bool] = False

    def __init__(self, *, latent_size: int, coordinates: int, classes: int, code_size: int, commitment: float) -> None:
        check_whole_number("posterior.classes", classes, minimum=2)
        check_whole_number("posterior.code_size", code_size, minimum=1)
        super().__init__(latent_size=latent_size, coordinates=latent_size * code_size)
        self.classes = classes
        self.code_size = code_size
        self.commitment = check_number("posterior.commitment", commitment, above=0)
        self.inputs = self.coordinates
        self.codebook = nn.Parameter(0.1 * torch.randn(latent_size, classes, code_size))

    def forward(self, raw: Tensor) -> Quantized:
        """q(z|x), batch shape (B,), event shape (latent_size * code_size,)."""
        return Quantized(raw.unflatten(-1, (self.latent_size, self.code_size)), self.codebook)

    def placed(self, p: Distribution) -> CodebookEntries:
        """The prior of code words as one of their vectors."""
        assert isinstance(p, OneHot)
        return CodebookEntries(p, self.codebook)

    def own_loss(self, q: Distribution) -> Tensor:
        """The codebook's and the commitment's term."""
        assert isinstance(q, Quantized)
        codebook = (q.encoded.detach() - q.nearest).square()
        commitment = (q.encoded - q.nearest.detach()).square()
        return (codebook + self.commitment * commitment).sum((-1, -2)).mean()
