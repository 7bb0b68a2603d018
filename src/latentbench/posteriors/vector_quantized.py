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
    """z is the nearest codebook entry to the encoder's vector, in each of latent_size groups.

    auxiliary loss = E_x mean_g |sg(v_g) - e_g|^2 + commitment |v_g - sg(e_g)|^2, where v_g is the encoder's vector, e_g
    its nearest entry, and sg stops the gradient. It is summed over `code_size` and averaged over groups and the batch.
    The decoder's gradient goes to v_g (straight-through). Entries start from N(0, 0.1^2), the range of the vectors of
    an untrained encoder.
    All positions of a grid share a codebook, one for each group of a position. Without a grid each group has its own,
    since the groups of a vector are not interchangeable.
    Source: van den Oord et al. 2017, equation 3; there, latents lie on a grid, with one group at each position.
    """

    space: ClassVar[Space] = CODES
    has_density: ClassVar[bool] = False
    per_coordinate: ClassVar[int] = 1
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
        self.positions = 1

    def share_over_positions(self, positions: int) -> None:
        """Keep only the codebooks of the first position."""
        self.positions = positions
        self.codebook = nn.Parameter(self.codebook[: self.latent_size // positions].detach().clone())

    @property
    def entries(self) -> Tensor:
        """The codebook of every group, (G, K, d)."""
        return self.codebook.repeat(self.positions, 1, 1) if self.positions > 1 else self.codebook

    def forward(self, raw: Tensor) -> Quantized:
        return Quantized(raw.unflatten(-1, (self.latent_size, self.code_size)), self.entries)

    def adapt_prior(self, p: Distribution) -> CodebookEntries:
        """The prior of one-hot code words as a distribution of codebook entries."""
        assert isinstance(p, OneHot)
        return CodebookEntries(p, self.entries)

    def auxiliary_loss(self, q: Distribution) -> Tensor:
        """The codebook term and the commitment term."""
        assert isinstance(q, Quantized)
        codebook = (q.encoded.detach() - q.nearest).square()
        commitment = (q.encoded - q.nearest.detach()).square()
        return (codebook + self.commitment * commitment).sum(-1).mean()
