"""Features of a convolutional network that was never trained."""

import math

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.features.base import Features
from latentbench.features.classifier import N_FEATURES, network


class RandomConvolutions(Features):
    """64 numbers from a network like the classifiers', its weights drawn at random and kept.

    They know nothing of any data set, so they favour none. Source: Naeem et al. 2020, who compare sets of images
    that are unlike photographs in 64 features of an untrained network; theirs is VGG16.
    Weights are uniform with He et al.'s variance (2015), 2 / fan-in, and biases 0. Not normal: the last digits of
    normal draws differ from processor to processor. The last layer has no threshold: half of its units would be 0 for
    every image.
    Raises: UserError if the seed is not a whole number, 0 or more.
    """

    def __init__(self, *, seed: int, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.name = f"random_{check_whole_number('features.seed', seed, minimum=0)}"
        self.size = N_FEATURES
        with torch.device("meta"):  # layers as torch makes them draw their weights from everybody's generator
            layers = network(shape)[:-2]
        self.network = layers.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.network.named_parameters():
            draw = 2 * torch.rand(weight.shape, generator=generator) - 1
            weight.data = draw * math.sqrt(6 / weight[0].numel()) if name.endswith("weight") else torch.zeros_like(draw)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 64)."""
        features: Tensor = self.network(images)
        return features
