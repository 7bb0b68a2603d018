"""Trains classifiers for their features. `python -m latentbench.features.train data=mnist` makes a shipped one anew."""

import functools
import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from tqdm import tqdm

from latentbench.configuration.compose import compose_config
from latentbench.configuration.folders import take_folders
from latentbench.data.base import ImageData, Split, to_float
from latentbench.errors import UserError
from latentbench.features.classifier import network
from latentbench.records.classifiers import SHIPPED, SUFFIX
from latentbench.records.record import write_atomically

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16}


class Recipe(NamedTuple):
    """How a network is trained.

    epochs: their number; of few images more, up to `most_epochs`, until there are `min_steps` steps
    learning_rate: the highest; it rises from a 25th of it and falls to nearly 0
    shift: pixels by which images are moved at most, each way; if it is not 0, half of the images are mirrored
    """

    epochs: int
    most_epochs: int
    min_steps: int
    learning_rate: float
    optimizer: Callable[..., torch.optim.Optimizer]
    shift: int


PLAIN = Recipe(30, 30, 0, 2e-3, torch.optim.Adam, 0)
SGD = functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4)
RESIDUAL = Recipe(24, 100, 2000, 0.2, SGD, 4)


def main() -> None:
    """Train on the training split, write the weights into the package, and print the accuracy."""
    torch.manual_seed(0)
    config = compose_config(take_folders(sys.argv[1:]))
    data: ImageData = instantiate(config.data, seed=0)
    classifier = train(data, precision=config.trainer.precision)
    weights, about = to_bytes(classifier, data, f"python -m latentbench.features.train {' '.join(sys.argv[1:])}")
    target = SHIPPED / f"{data.name}{SUFFIX}"
    write_atomically(target, weights)
    print(f"{target}: {accuracies(about)}")


def train(data: ImageData, *, device: torch.device | None = None, precision: str = "32-true") -> torch.nn.Sequential:
    """Minimize the cross-entropy with a one-cycle learning rate. Only training images are used.

    precision: `32-true`, or `bf16-mixed`, which is faster on some processors
    Raises: UserError if the labels do not tell two classes or more apart.
    """
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: classifiers are trained in {' or '.join(PRECISIONS)}")
    images, labels = data.splits.images["train"], data.splits.labels["train"]
    n_classes = int(labels.max()) + 1
    if len(labels.unique()) < 2:
        raise UserError(
            f"data={data.name}: training images have one label, or none: a classifier needs two classes or more"
        )
    recipe, layout = (PLAIN, torch.contiguous_format) if data.shape[0] == 1 else (RESIDUAL, torch.channels_last)
    classifier = network(data.shape, classes=n_classes).to(device)
    classifier.to(memory_format=layout)  # type: ignore[call-overload]
    steps = -(-len(images) // data.batch_size)  # of an epoch
    epochs = max(recipe.epochs, min(recipe.most_epochs, -(-recipe.min_steps // steps)))
    optimizer = recipe.optimizer(classifier.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=epochs * steps)
    dtype = PRECISIONS[precision]
    for _ in tqdm(range(epochs), desc=f"classifier for {data.name}", unit="epoch", disable=None):
        for chosen in torch.randperm(len(images)).split(data.batch_size):
            batch = moved(expected(data, images[chosen]), recipe.shift).to(device)
            with torch.autocast(batch.device.type, dtype, enabled=dtype is not None):
                loss = cross_entropy(classifier(batch), labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return classifier.eval()


def expected(data: ImageData, images: Tensor) -> Tensor:
    """uint8 images as floats, as `ImageData.expected_images`."""
    return to_float(images, "none" if data.binarize == "dynamic" else data.binarize, None)


def moved(images: Tensor, shift: int) -> Tensor:
    """Images (N, C, H, W), moved by up to `shift` pixels each way, half of them mirrored; for a shift of 0 as they are.

    What is beyond the edge is filled by reflection, or if the images are not larger than the shift, by the edge.
    """
    if shift == 0:
        return images
    n, _, height, width = images.shape
    padded = pad(images, [shift] * 4, mode="reflect" if min(height, width) > shift else "replicate")
    top, left = torch.randint(2 * shift + 1, (2, n))
    rows, columns = top[:, None] + torch.arange(height), left[:, None] + torch.arange(width)
    mirrored = torch.rand(n) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def to_bytes(classifier: torch.nn.Sequential, data: ImageData, command: str) -> tuple[bytes, dict[str, str]]:
    """The content of a file with the classifier's weights, and its metadata.

    In the metadata, `confusion` is, for every class (row) and every class (column), how many test images of the first
    are put into the second, and the sum of the probabilities of the second that they are given.
    Kernels and matrices of the residual network are stored in half precision; accuracies are those of what is stored.
    """
    halved = data.shape[0] != 1
    state = {
        name: tensor.half() if halved and tensor.dim() > 1 else tensor
        for name, tensor in classifier.state_dict().items()
    }
    classifier.load_state_dict(state)
    confused = confusion(classifier, data)
    of_test = confused["taken"]
    about = {
        "shape": "x".join(map(str, data.shape)),
        "classes": str(classifier[-1].out_features),
        "validation_accuracy": f"{accuracy(classifier, data, 'validation'):.4f}",
        "test_accuracy": f"{(of_test.trace() / of_test.sum()).item():.4f}",
        "confusion": json.dumps({name: table.tolist() for name, table in confused.items()}),
        "command": command,
    }
    return save(state, metadata=about), about


@torch.no_grad()
def probabilities(classifier: torch.nn.Module, data: ImageData, split: Split) -> Tensor:
    """The probability of every class for each image of a split, (N, K)."""
    return torch.cat([classifier(expected(data, batch)).softmax(1) for batch in data.splits.images[split].split(100)])


def accuracy(classifier: torch.nn.Module, data: ImageData, split: Split) -> float:
    """The share of a split's images with a label that are put into their class."""
    predictions, labels = probabilities(classifier, data, split).argmax(1), data.splits.labels[split]
    return (predictions == labels)[labels >= 0].float().mean().item()


def confusion(classifier: torch.nn.Module, data: ImageData) -> dict[str, Tensor]:
    """`taken` and `probabilities` of test images, (K, K) each, in rows by class: see `to_bytes`."""
    labels = data.splits.labels["test"]
    each = probabilities(classifier, data, "test")[labels >= 0]  # some data sets publish no labels of theirs: -1
    classes = torch.eye(each.shape[1])
    of_class = classes[labels[labels >= 0]].T
    return {"taken": (of_class @ classes[each.argmax(1)]).int(), "probabilities": (of_class @ each).round(decimals=2)}


def accuracies(about: dict[str, str]) -> str:
    """The accuracies of a file's metadata in words."""
    validation, test = (float(about[f"{split}_accuracy"]) for split in ("validation", "test"))
    return f"accuracy {validation:.2%} on validation images, {test:.2%} on test images"


if __name__ == "__main__":
    main()
