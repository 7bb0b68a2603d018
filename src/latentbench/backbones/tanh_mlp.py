"""Fully connected networks with hyperbolic tangents."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from latentbench.backbones.mlp import MLPBackbone


class TanhMLPBackbone(MLPBackbone):
    """Fully connected layers with tanh, of widths `hidden` in the encoder and in reverse order in the decoder.

    Weights begin uniform between -+ sqrt(6 / (inputs + outputs)), and biases at 0.
    Source: Burda et al. 2016, section 5.1 and the authors' nnet.py; Glorot & Bengio 2010, equation 16.
    """

    activation: ClassVar[type[nn.Module]] = nn.Tanh

    def __init__(
        self, *, shape: tuple[int, int, int], latent_size: int, hidden: Sequence[int], raw_channels: int
    ) -> None:
        super().__init__(shape=shape, latent_size=latent_size, hidden=hidden, raw_channels=raw_channels)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
