"""Train the classifier whose features a data set's FID uses: python -m latentbench.features.train data=mnist"""

import sys

import torch
from hydra.utils import instantiate
from safetensors.torch import save
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from latentbench.configuration.compose import compose_config
from latentbench.configuration.folders import take_folders
from latentbench.data.base import ImageData, Split
from latentbench.features.classifier import WEIGHTS, network
from latentbench.records.record import write_atomically

EPOCHS = 30
LEARNING_RATE = 2e-3


def main() -> None:
    """Train on the training split, write the weights into the package, and print the accuracy."""
    torch.manual_seed(0)
    data: ImageData = instantiate(compose_config(take_folders(sys.argv[1:])).data, seed=0)
    classifier = train(data)
    accuracy = {split: _accuracy(classifier, data, split) for split in ("validation", "test")}
    command = f"python -m latentbench.features.train {' '.join(sys.argv[1:])}"
    metadata = {
        "shape": "x".join(map(str, data.shape)),
        "test_accuracy": f"{accuracy['test']:.4f}",
        "command": command,
    }
    target = WEIGHTS / f"{data.name}.safetensors"
    write_atomically(target, save(classifier.state_dict(), metadata=metadata))
    print(
        f"{target}: accuracy {accuracy['validation']:.2%} on validation images, {accuracy['test']:.2%} on test images"
    )


def train(data: ImageData) -> torch.nn.Sequential:
    """Minimize the cross-entropy with Adam and a one-cycle learning rate. Only training images are used."""
    classifier = network(data.shape)
    images, labels = data.expected_images("train"), data.splits.labels["train"]
    batch = data.batch_size
    steps = EPOCHS * -(-len(images) // batch)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in tqdm(range(EPOCHS), desc=f"classifier for {data.name}", unit="epoch", disable=None):
        for chosen in torch.randperm(len(images)).split(batch):
            loss = cross_entropy(classifier(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return classifier.eval()


@torch.no_grad()
def _accuracy(classifier: torch.nn.Module, data: ImageData, split: Split) -> float:
    predictions = torch.cat([classifier(batch).argmax(1) for batch in data.expected_images(split).split(100)])
    return (predictions == data.splits.labels[split]).float().mean().item()


if __name__ == "__main__":
    main()
