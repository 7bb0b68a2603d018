"""Parzen windows on images that no network made: MNIST's own training images, and draws from k-means centroids of them.

    python benchmarks/parzen.py

Writes results/reproduce_parzen/mnist and the ledger. The protocol is that of metric=parzen: 10,000 centres, ten
bandwidths, of which 1,000 validation images choose one, and the mean over all test images. Most of the time is k-means.
"""

import math
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from sklearn.cluster import KMeans
from torch import Tensor

from latentbench.configuration.compose import compose_config
from latentbench.metrics.measurements import mean_of
from latentbench.metrics.parzen import parzen_log_likelihood
from latentbench.records.record import write_atomically
from latentbench.reporting.ledger import CSV_NAME, published_csv, published_markdown, published_text, write_ledger
from latentbench.reporting.published_numbers import Comparison, PublishedNumber, Term

CENTRES, VALIDATION_IMAGES, ROUNDS = 10_000, 1000, 10
IMAGES, CENTROIDS = "training images", "draws from k-means centroids"
RESULTS = Path(__file__).parents[1] / "results"
PAGE = """# reproduce_parzen on mnist

Do Parzen windows prefer real images? (`python benchmarks/parzen.py`; no model is trained.)

"""


def draws_of_centroids(images: Tensor) -> Tensor:
    """As many draws as there are centres from k-means as a model: the centroid of the cluster of a random image.

    It has as many clusters, after some rounds of Lloyd's algorithm from random images.
    """
    clusters = KMeans(CENTRES, init="random", n_init=1, max_iter=ROUNDS, random_state=0).fit(images.numpy())
    drawn = torch.randint(len(images), (CENTRES,), generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(clusters.cluster_centers_[clusters.labels_[drawn.numpy()]])


def log_likelihood(centres: Tensor, validation: Tensor, test: Tensor) -> tuple[float, float]:
    """Mean over test images and its standard error, nats, with the bandwidth that is best on validation images."""
    grid = torch.logspace(-1, 0, 10, dtype=torch.float64)
    best = grid[parzen_log_likelihood(validation, centres, grid).mean(1).argmax()]
    estimate = mean_of(parzen_log_likelihood(test, centres, best[None])[0])
    assert estimate.standard_error is not None
    return float(estimate.value), float(estimate.standard_error)


WHY = "another 10,000 training images, and another grid of bandwidths, move it by some nats"
WHY_OF_CENTROIDS = (
    "how the paper draws from its clusters could not be read: after two rounds of k-means 316.7 ± 1.8 comes out, "
    "311.5 ± 1.8 if all clusters are equally probable, and 334.3 ± 1.7 if each centroid is taken once"
)


def number(images: str, value: float, **more: Any) -> PublishedNumber:
    about: dict[str, Any] = {"low": value - 10, "high": value + 10, "why": WHY, "sign": "", "other": None, "cause": ""}
    return PublishedNumber(
        data="mnist",
        term=term_of(images),
        value=value,
        error=None,
        source="Theis et al. 2016, table 1",
        read="recalled",
        **about | more,
    )


def term_of(images: str) -> Term:
    return Term(row={"images": images}, key="parzen")


def main() -> None:
    """Print the comparisons, and write them where the ledger finds them."""
    data = instantiate(compose_config(["data=mnist"]).data, seed=0)
    train, validation, test = (data.images(split).flatten(1) for split in ("train", "validation", "test"))
    (of_images, error), (of_centroids, error_of_centroids) = (
        log_likelihood(centres, validation[:VALIDATION_IMAGES], test)
        for centres in (train[:CENTRES], draws_of_centroids(train))
    )
    claim = {"low": 0, "high": math.inf, "why": "the claim is that centroids, which no network drew, are better"}
    comparisons = [
        Comparison(published=number(IMAGES, 243), ours=of_images, error=error, n=1),
        Comparison(
            published=number(CENTROIDS, 313, why=WHY_OF_CENTROIDS), ours=of_centroids, error=error_of_centroids, n=1
        ),
        Comparison(
            published=number(CENTROIDS, 313 - 243, sign="minus", other=term_of(IMAGES), **claim),
            ours=of_centroids - of_images,
            error=math.hypot(error, error_of_centroids),
            n=1,
        ),
    ]
    print(published_text(comparisons))
    folder = RESULTS / "reproduce_parzen" / "mnist"
    write_atomically(folder / CSV_NAME, published_csv(comparisons).encode())
    write_atomically(folder / "table.md", (PAGE + published_markdown(comparisons)).encode())
    write_ledger(RESULTS)


if __name__ == "__main__":
    main()
