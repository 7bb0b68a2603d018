"""Features of small classifiers, whose weights are part of the package."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from latentbench.errors import UserError
from latentbench.features.base import Features

WEIGHTS = Path(__file__).parent / "weights"
N_FEATURES = 64
N_CLASSES = 10


class ClassifierFeatures(Features):
    """The 64 activations before the last layer of a convolutional classifier trained on the data set's training split.

    `python -m latentbench.features.train data=mnist` trains the weights again. Their test accuracy is in the metadata
    of the file.
    Raises: UserError if there are no weights of this name, or they are for images of another shape.
    Source: Heusel et al. 2017 (a Frechet distance between classifier features). They use Inception, which was trained
    on photographs. Our classifier was trained on images of the same data set.
    """

    def __init__(self, *, weights: str | None, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        stem = weights or data_name
        path = WEIGHTS / f"{stem}.safetensors"
        if not path.is_file():
            available = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors")))
            raise UserError(f"features.classifier.weights={stem}: no such weights, choose one of {available}")
        trained_shape, data_shape = metadata(stem)["shape"], "x".join(map(str, shape))
        if trained_shape != data_shape:
            raise UserError(
                f"features.classifier.weights={stem} are for images of {trained_shape}, not {data_shape}: "
                "take features=random or pixels"
            )
        self.name = f"classifier_{stem}"
        self.size = N_FEATURES
        self.network = network(shape)
        self.network.load_state_dict(load_file(path))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 64), all at least 0."""
        features: Tensor = self.network[:-1](images)
        return features


def network(shape: tuple[int, int, int]) -> nn.Sequential:
    """The classifier. Its last layer gives the class logits, the layer before it the features."""
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
        nn.Linear(N_FEATURES, N_CLASSES),
    )


def metadata(stem: str) -> dict[str, str]:
    """The metadata of the weights file: shape, test_accuracy, command."""
    with safe_open(WEIGHTS / f"{stem}.safetensors", framework="pt") as file:
        return dict(file.metadata())
