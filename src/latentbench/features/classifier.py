"""Features of small classifiers, whose weights are part of the package or trained by the user."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from latentbench.errors import UserError
from latentbench.features.base import Features
from latentbench.records.classifiers import AUTO, SHIPPED, weights_file

N_FEATURES = 64  # of the plain network
WIDTHS = (32, 64, 96, 128)  # channels of the residual network
SIDE = 32  # pixels; the residual network first shrinks larger images to about this


class ClassifierFeatures(Features):
    """Activations of a convolutional classifier trained on the data set's training split.

    Of grey images these are the 64 before the last layer, of others the 128 means of the last feature maps. These tell
    images of one class apart better than what comes after them.
    weights: the name of a classifier, shipped or trained by `latentbench-features`; null or `auto`: the shipped one of
        the data set. Before a run is measured, `auto` is resolved: see latentbench.records.classifiers.

    Test accuracy and the command that trains the weights again are in the metadata of the file.
    Raises: UserError if there are no weights of this name, or they are for images of another shape.
    Source: Heusel et al. 2017 (a Frechet distance between classifier features). They use the means of the last feature
    maps of Inception, which was trained on photographs. Our classifier was trained on images of the same data set.
    """

    def __init__(self, *, weights: str | None, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        stem = data_name if weights in (None, AUTO) else str(weights)
        path = weights_file(stem)
        if path is None:
            available = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors")))
            raise UserError(
                f"features.classifier.weights={stem}: no such weights, choose one of {available}, or train a "
                "classifier with latentbench-features, or take features=auto"
            )
        self.about = about = metadata(path)
        data_shape = "x".join(map(str, shape))
        if about["shape"] != data_shape:
            raise UserError(
                f"features.classifier.weights={stem} are for images of {about['shape']}, not {data_shape}: "
                "take features=random or pixels, or give the data another name (data.name) and train its classifier "
                "with latentbench-features"
            )
        # A note says what the weights were trained on, if it is not exactly the data set of their name.
        self.name = f"classifier_{stem}" + (f" ({about['note']})" if "note" in about else "")
        self.size, self.n_after = (N_FEATURES, 1) if shape[0] == 1 else (WIDTHS[-1], 3)  # layers after the features
        self.classes = int(about["classes"])
        self.network = network(shape, classes=self.classes)
        self.network.load_state_dict(load_file(path))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 64) or (N, 128), all at least 0."""
        features: Tensor = self.network[: -self.n_after](images)
        return features

    @property
    def confusion(self) -> dict[str, Tensor]:
        """For every class (row) and every class (column), (K, K) each, how many test images of the first are `taken`
        for the second, and the sum of the `probabilities` of the second that they are given.
        """
        return {name: torch.tensor(table) for name, table in json.loads(self.about["confusion"]).items()}

    def probabilities(self, images: Tensor) -> Tensor:
        """The probability of every class, (N, K)."""
        logits: Tensor = self.network(images)
        return logits.softmax(1)


def network(shape: tuple[int, int, int], *, classes: int) -> nn.Sequential:
    """The classifier. Its last layer gives the class logits."""
    return plain_network(shape, classes=classes) if shape[0] == 1 else residual_network(shape, classes=classes)


def plain_network(shape: tuple[int, int, int], *, classes: int) -> nn.Sequential:
    """Three convolutions, for grey drawings."""
    channels, height, width = shape
    for _ in range(2):
        height, width = (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(48 * height * width, N_FEATURES),
        nn.ReLU(),
        nn.Linear(N_FEATURES, classes),
    )


def residual_network(shape: tuple[int, int, int], *, classes: int) -> nn.Sequential:
    """Eight convolutions with batch normalization, for photographs. Its features do not depend on the image's size."""
    channels, height, width = shape
    shrink = max(1, min(height, width) // SIDE)
    a, b, c, d = WIDTHS
    return nn.Sequential(
        convolution(channels, a, stride=shrink),
        convolution(a, b, stride=2),
        Residual(b),
        convolution(b, c, stride=2),
        Residual(c),
        convolution(c, d),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(d, N_FEATURES),
        nn.ReLU(),
        nn.Linear(N_FEATURES, classes),
    )


def convolution(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution whose windows overlap, batch normalization, ReLU."""
    kernel = max(3, stride + stride // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Residual(nn.Module):
    """x plus two convolutions of it (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W), as x."""
        added: Tensor = x + self.layers(x)
        return added


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a file of weights: shape, test_accuracy, command and others."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())
