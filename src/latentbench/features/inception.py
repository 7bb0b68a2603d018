"""The features of the standard FID: an Inception network trained on ImageNet."""

import hashlib
import pickle
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from latentbench.errors import UserError
from latentbench.features.base import Features
from latentbench.features.files import find

FILE_NAME = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE_NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIDE = 299  # pixels
BATCH = 50  # images; each needs about 30 MB of memory in the network


class InceptionFeatures(Features):
    """The 2,048 means of the last feature maps of Inception v3, with the weights of the original FID.

    Pixels are first rounded to 256 levels, as if the images were stored. Then images are resized to 299x299 by an
    antialiased bicubic filter in single precision, without rounding afterwards. Parmar et al. 2022, section 3, show
    that other resizing changes FIDs by more than methods differ. Grey images are repeated to three channels.
    The network was trained on photographs. For other images, prefer features trained on similar images.
    `name` is `inception` for the published weights. For others, it includes the beginning of the file's SHA-256.
    Nothing is downloaded.
    Raises: UserError if torch-fidelity or the weights are missing, or if the file does not contain the weights.
    Source: Heusel et al. 2017, section 2.1 of the appendix. The layers and the conversion of the TensorFlow weights are
    those of torch-fidelity, which resizes with bilinear interpolation without antialiasing. clean-fid uses NVIDIA's
    conversion of the weights, and PIL's filter, which equals ours up to a hundredth of a grey level.
    """

    def __init__(self, *, weights: str | None, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        if shape[0] not in (1, 3):
            raise UserError(f"features=inception takes images of 1 or 3 channels, not {shape[0]}")
        self.network = network()
        path = find(weights, FILE_NAME, option="features=inception", source=URL)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if weights is None and digest != SHA256:
            raise UserError(f"{path} is not the published file (its SHA-256 differs): delete it or fetch it again")
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.network.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")})
        except (pickle.UnpicklingError, RuntimeError, AttributeError, EOFError, OSError) as error:
            reason = " ".join(str(error).split())[:100]
            raise UserError(f"features.inception.weights={path} does not hold Inception's weights: {reason}") from error
        self.name = "inception" if digest == SHA256 else f"inception_{digest[:8]}"
        self.size = 2048
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 2048), all at least 0."""
        return torch.cat([self.network(preprocess(batch)) for batch in images.split(BATCH)])


def preprocess(images: Tensor) -> Tensor:
    """Turn images (N, 1 or 3, H, W) in [0, 1] into the network's input (N, 3, 299, 299), about in [-1, 1]."""
    levels = (images * 255).round()
    resized = interpolate(levels, size=(SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    return ((resized - 128) / 128).expand(-1, 3, -1, -1)


def network() -> nn.Sequential:
    """Inception v3 up to its feature means, with the layer names of the weights file.

    Raises: UserError if torch-fidelity is not installed.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as layers
    except ImportError as error:
        raise UserError(
            f"features=inception needs torch-fidelity ({error}): pip install 'latentbench[inception]', "
            "or choose other features"
        ) from error
    conv = layers.BasicConv2d
    parts = {
        "Conv2d_1a_3x3": conv(3, 32, kernel_size=3, stride=2),
        "Conv2d_2a_3x3": conv(32, 32, kernel_size=3),
        "Conv2d_2b_3x3": conv(32, 64, kernel_size=3, padding=1),
        "MaxPool_1": nn.MaxPool2d(3, stride=2),
        "Conv2d_3b_1x1": conv(64, 80, kernel_size=1),
        "Conv2d_4a_3x3": conv(80, 192, kernel_size=3),
        "MaxPool_2": nn.MaxPool2d(3, stride=2),
        "Mixed_5b": layers.InceptionA(192, pool_features=32),
        "Mixed_5c": layers.InceptionA(256, pool_features=64),
        "Mixed_5d": layers.InceptionA(288, pool_features=64),
        "Mixed_6a": layers.InceptionB(288),
        "Mixed_6b": layers.InceptionC(768, channels_7x7=128),
        "Mixed_6c": layers.InceptionC(768, channels_7x7=160),
        "Mixed_6d": layers.InceptionC(768, channels_7x7=160),
        "Mixed_6e": layers.InceptionC(768, channels_7x7=192),
        "Mixed_7a": layers.InceptionD(768),
        "Mixed_7b": layers.InceptionE_1(1280),
        "Mixed_7c": layers.InceptionE_2(2048),
        "AvgPool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
    }
    return nn.Sequential(OrderedDict(parts))
