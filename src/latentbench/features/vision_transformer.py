"""Features of vision transformers that were trained on photographs without the data set: DINOv2, CLIP."""

import hashlib
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from latentbench.errors import UserError
from latentbench.features.base import Features
from latentbench.features.files import find

BATCH = 20  # images; each needs about 30 MB of memory in a large network
OFFSET = 0.1  # DINOv2 adds it to the sides of the grid of positions to which it interpolates


class VisionTransformerFeatures(Features):
    """The output of a vision transformer of timm for an image: its class token, or what its last layer makes of it.

    Pixels are first rounded to 256 levels, as if the images were stored. Then images are resized to `side` x `side` by
    an antialiased bicubic filter along rows, then along columns, and rounded after each, as PIL does it. Grey images
    are repeated to three channels. The positions that a network was trained with are interpolated to those of `side` as
    DINOv2's own code does it, not as timm does it.
    `name` includes the beginning of the SHA-256 of the weights. Nothing is downloaded.

    model: its name in timm
    weights: a file of its weights; null: <model>.safetensors in $LATENTBENCH_DATA, the cache or torch's hub
    crop: whether images that are not square are cropped to the central square, or squeezed
    mean, std: of each channel, by which pixels in [0, 1] are normalized
    unit_norm: whether features are divided by their length
    Raises: UserError if timm or the weights are missing, or if the file does not contain the weights.
    Source: Stein et al. 2023 and its code, dgm-eval (DINOv2, resized to 224 pixels); Jayasumana et al. 2024 and its
    code (CLIP at 336 pixels, features of length 1). Where we differ: networks and weights are timm's conversions.
    """

    network: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        model: str,
        weights: str | None,
        side: int,
        crop: bool,
        mean: Sequence[float],
        std: Sequence[float],
        unit_norm: bool,
        data_name: str,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        if shape[0] not in (1, 3):
            raise UserError(f"features of {model} take images of 1 or 3 channels, not {shape[0]}")
        self.network, source = network(model, side)
        path = find(weights, f"{model}.safetensors", option=f"features of {model}", source=source)
        content = load(path)
        try:
            self.network.load_state_dict(fitting(content, self.network), assign=True)
        except (RuntimeError, KeyError, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())[:100]
            raise UserError(f"{path} does not hold the weights of {model}: {reason}") from error
        self.side, self.crop, self.unit_norm = side, crop, unit_norm
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1))
        self.name = f"{model}_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        self.size = int(self.network.num_classes or self.network.num_features)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, F)."""
        return torch.cat([self._features(batch) for batch in images.split(BATCH)])

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(self.preprocess(images))
        return normalize(features, dim=1) if self.unit_norm else features

    def preprocess(self, images: Tensor) -> Tensor:
        """Turn images (N, 1 or 3, H, W) in [0, 1] into the network's input (N, 3, side, side)."""
        levels = (images * 255).round()
        if self.crop:
            levels = central_square(levels)
        for size in ((levels.shape[2], self.side), (self.side, self.side)):  # rows first
            levels = interpolate(levels, size=size, mode="bicubic", antialias=True).round().clamp(0, 255)
        return (levels.expand(-1, 3, -1, -1) / 255 - self.mean) / self.std


def central_square(images: Tensor) -> Tensor:
    """The largest central square of images (N, C, H, W)."""
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, :, top : top + side, left : left + side]


def network(model: str, side: int) -> tuple[nn.Module, str]:
    """timm's network without weights, and where they are to be had.

    Raises: UserError if timm is not installed, or has no such model.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"features of {model} need timm ({error}): pip install 'latentbench[timm]', or choose other features"
        ) from error
    with torch.device("meta"):  # no memory, and no random numbers
        try:
            made: nn.Module = timm.create_model(model, pretrained=False, img_size=side)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:100]
            raise UserError(f"features: timm makes no {model} for {side} pixels: {reason}") from error
    config: Any = made.pretrained_cfg
    return made, f"model.safetensors of https://huggingface.co/{config.get('hf_hub_id') or f'timm/{model}'}"


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, of safetensors or of torch without any code."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, TypeError, ValueError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path} holds no weights: {reason}") from error


def fitting(content: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Weights as the network names them, in single precision, with as many positions as it has."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    positions = content.get("pos_embed")
    if positions is not None and positions.shape[1] != model.pos_embed.shape[1]:
        content = content | {"pos_embed": resized_positions(positions.float(), model.patch_embed.grid_size[0])}
    found: dict[str, Tensor] = checkpoint_filter_fn(content, model)
    return {name: tensor.float() for name, tensor in found.items()}


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """The vectors of positions (1, 1 + M M, F), that of the class token first, for a grid of `side` x `side`.

    Bicubic without antialiasing, with the factor (side + 0.1) / M.
    Source: `interpolate_pos_encoding` of DINOv2's code.
    """
    own, grid = positions[:, :1], positions[:, 1:]
    before = math.isqrt(grid.shape[1])
    square = grid.reshape(1, before, before, -1).permute(0, 3, 1, 2)
    factor = (side + OFFSET) / before
    resized = interpolate(square, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([own, resized.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)
