"""Features of an untrained convolutional network."""

import math

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.features.base import Features
from latentbench.features.classifier import N_FEATURES, plain_network


class RandomConvolutions(Features):
    """64 features of a network with the architecture of the grey sets' classifiers and fixed random weights.

    They are not trained on any data set, and so favour none. Weights are uniform with variance 2 / fan-in (He et al.
    2015), biases are 0. Weights are not normal, because the last digits of normal samples differ between processors.
    The last layer has no ReLU, which would make about half of the features 0 for every image.
    Raises: UserError if the seed is not a whole number of at least 0.
    Source: Naeem et al. 2020, who use 64 features of an untrained VGG16 for images that are not photographs.
    """

    def __init__(self, *, seed: int, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.name = f"random_{check_whole_number('features.random.seed', seed, minimum=0)}"
        self.size = N_FEATURES
        with torch.device("meta"):  # otherwise, creating the layers would draw from torch's global random numbers
            layers = plain_network(shape, classes=1)[:-2]
        self.network = layers.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.network.named_parameters():
            draw = 2 * torch.rand(weight.shape, generator=generator) - 1
            weight.data = draw * math.sqrt(6 / weight[0].numel()) if name.endswith("weight") else torch.zeros_like(draw)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features
