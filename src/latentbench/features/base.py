"""The contract of features: the space in which metrics such as the FID compare sets of images."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Features(nn.Module, ABC):
    """Maps images to feature vectors.

    To add some, subclass Features, set `name` and `size` in the constructor, and implement `forward`. The constructor
    receives `data_name`, the name of the data set, and `shape`, (C, H, W) of its images. Requirements:
    - the features are fixed: in evaluation mode, without gradients to parameters, the same for every run;
    - the features of an image do not depend on the other images;
    - different features have different names: the name is recorded beside every number computed from them;
    - weights come from files of the package or of the user and are never downloaded silently. They are parameters or
      buffers: the features of real images are cached by these and by the source of the class.
    """

    name: str
    size: int  # F, features per image

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, F) of images (N, C, H, W) in [0, 1]."""
