"""The contract of features: what a Frechet distance compares images by."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Features(nn.Module, ABC):
    """forward(images (N, C, H, W) in [0, 1]) -> (N, F). `name` stands beside every number made with them."""

    name: str
    size: int  # F

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, F)."""
