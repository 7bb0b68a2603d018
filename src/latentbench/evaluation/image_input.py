"""Images that a user gives, as the tensors that models take."""

from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

MODES = {1: "L", 3: "RGB"}  # of pictures, by channels; for other channels, a picture has to have them itself


def as_images(images: Any, shape: tuple[int, ...]) -> Tensor:
    """Images (N, C, H, W) as floats in [0, 1].

    images: a torch tensor, a numpy array or a PIL image, or a list of these; one image or several; uint8 or floats
    shape: (C, H, W) of the model's images
    Raises: ValueError if the shape is another, or values lie outside of [0, 1] (of 0 to 255 if they are whole numbers).
    """
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError("there are no images")
        return torch.cat([as_images(image, shape) for image in images])
    tensor = _tensor(images, channels=shape[0])
    if tensor.dim() == 3:
        tensor = tensor[None]
    wanted = "x".join(map(str, shape))
    if tensor.dim() != 4 or tuple(tensor.shape[1:]) != shape:
        raise ValueError(f"this run needs images of {wanted} (C, H, W), one or several, not {tuple(tensor.shape)}")
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    if not tensor.dtype.is_floating_point:
        raise ValueError(f"images must be uint8, or floats in [0, 1], not {tensor.dtype}")
    if not ((tensor >= 0) & (tensor <= 1)).all():
        low, high = tensor.min().item(), tensor.max().item()
        raise ValueError(f"floats must lie in [0, 1], and these lie in [{low:.3g}, {high:.3g}]: divide by 255, or clip")
    return tensor.float()


def _tensor(image: Any, *, channels: int) -> Tensor:
    if isinstance(image, Tensor):
        return image
    if isinstance(image, Image):
        return _pixels(image, channels)
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "buif":
        raise ValueError(
            f"images of {type(image).__name__} are no images: give torch tensors, numpy arrays or PIL images"
        )
    # A copy, since torch shares no memory with arrays that are read-only, run backwards or have foreign bytes.
    return torch.from_numpy(image.astype(image.dtype.newbyteorder("=")))


def _pixels(image: Image, channels: int) -> Tensor:
    """uint8 (C, H, W)."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"a picture of mode {image.mode} has more than 8 bits per pixel: give floats in [0, 1]")
    pixels = np.array(image.convert(mode) if (mode := MODES.get(channels)) else image)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
