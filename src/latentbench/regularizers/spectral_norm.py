"""Squared norm of the codes, and a decoder whose layers have spectral norm 1 (RAE-SN)."""

from torch import nn

from latentbench.backbones.base import normalize_spectrally
from latentbench.regularizers.squared_norm import SquaredNorm


class SpectralNorm(SquaredNorm):
    """R = E |z|^2 / 2, and the weight of every decoder layer is divided by its largest singular value.

    Source: Ghosh et al. 2020 (RAE-SN), section 3.1. The normalization is that of Miyato et al. 2018, equation 8.
    """

    def constrain(self, decoder: nn.Module) -> None:
        normalize_spectrally(decoder)
