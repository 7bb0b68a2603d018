"""The error of a number is what the number varies by over other images."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from latentbench.contracts.images import SPLITS, GivenImages, data_set
from latentbench.contracts.options import inputs, options, part_of, untrained
from latentbench.data.base import ImageData, Splits
from latentbench.metrics.base import ImageMetric, ModelMetric

N, SETS = 100, 40
FACTORS, IMAGES = (3, 4, 5), 1500  # their numbers of values
FEW_FACTORS, FEW_IMAGES = (3, 4), 600  # of scores that fit a tree or a forest for each factor
SETTINGS: dict[str, dict[str, Any]] = {
    "nll": {"samples": 30},
    "active_units": {"threshold": 0.06},  # about what coordinates of the model below vary by
    "dci": {"trees": 5, "leaves": [32]},
    "factor_vae_score": {"images": 8, "votes": 200, "judged": 200},
}
TWO_THIRDS = 2 / 3  # a standard deviation of 40 numbers is known to 11 %, and the errors are to first order


def metrics_of(kind: type) -> list[str]:
    """Those of a kind that are quick."""
    return [option for option in options("metric") if isinstance(part_of("metric", option), kind) and option != "ais"]


def drawn() -> Tensor:
    """Digits, drawn with replacement."""
    data = data_set("digits")
    images = torch.cat([data.expected_images(split) for split in SPLITS])
    return images[torch.randint(len(images), (N,))]


def blurred(images: Tensor) -> Tensor:
    """Images that are not like digits, each with a noise of its own."""
    return 0.8 * avg_pool2d(images, 3, stride=1, padding=1) + 0.05 * torch.rand_like(images)


def assert_right(numbers: list[float], errors: list[float], at_most: float = 1 / TWO_THIRDS) -> None:
    """To a third."""
    told, found = np.sqrt(np.mean(np.square(errors))), np.std(numbers, ddof=1)
    assert TWO_THIRDS * found < told < at_most * found


def drawn_anew() -> ImageData:
    """A data set of which every image is drawn anew."""
    images = {split: (255 * drawn()).round().to(torch.uint8) for split in SPLITS}
    labels = {split: torch.zeros(N, dtype=torch.int64) for split in SPLITS}
    return GivenImages(Splits(images, labels), name="digits")


@pytest.mark.parametrize("option", metrics_of(ImageMetric))
def test_the_errors_of_numbers_of_a_set(option: str) -> None:
    metric, made = part_of("metric", option), []
    mean_image = drawn().mean(0, keepdim=True)
    for _ in range(SETS):
        data = drawn_anew()
        features = part_of("features", "classifier", data_name="digits", shape=data.shape)
        collapsed = mean_image + 0.01 * torch.randn(N, *data.shape)
        sets = {"prior": blurred(drawn()), "real": data.expected_images("validation"), "collapsed": collapsed}
        made.append(metric.measure(inputs(data.expected_images("test"), data=data, features=features, images=sets)))
    for key in made[0].values:
        if key.startswith("parzen_bandwidth") or key.endswith("other_classes"):  # not of the images
            continue
        numbers, errors = [one.values[key] for one in made], [one.standard_errors[key] for one in made]
        if set(numbers) <= {0.0, 1.0}:  # a share of none or of all
            assert all(0 < error < 0.5 for error in errors)
        else:  # samples all alike may hang on one ball
            is_share = key.startswith(("precision", "recall", "coverage", "class_share"))
            assert_right(numbers, errors, at_most=(math.inf if "collapsed" in key else 3.0) if is_share else 2.5)


@pytest.mark.parametrize("option", metrics_of(ModelMetric))
def test_the_errors_of_numbers_of_the_model(option: str) -> None:
    data = data_set("digits")
    model = untrained(data, "method=vae", "latent_size=4").eval()
    with torch.no_grad():
        model.get_submodule("head").get_parameter("weight").mul_(4)
    metric = part_of("metric", option, **SETTINGS.get(option, {}))
    made = [metric.measure(inputs(drawn(), data=data, model=model)) for _ in range(SETS)]
    for name in metric.quantities:
        assert_right(
            [one.values[f"{name}/test"] for one in made], [one.standard_errors[f"{name}/test"] for one in made]
        )


@pytest.mark.parametrize("option", ["mig", "sap", "dci", "factor_vae_score"])
def test_the_errors_of_scores_of_codes(option: str) -> None:
    metric = part_of("metric", option, **SETTINGS.get(option, {}))
    made = []
    values, n = (FEW_FACTORS, FEW_IMAGES) if option in ("sap", "dci") else (FACTORS, IMAGES)
    mixed = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]])[: len(values), : len(values)]
    for _ in range(20):
        factors = torch.stack([torch.randint(number, (n,)) for number in values], 1)
        metric.reset()
        metric.update(factors.float() @ mixed + torch.randn(n, len(values)), factors)
        made.append(metric.compute())
    for name in metric.quantities:
        numbers, errors = ([getattr(one[name], part).item() for one in made] for part in ("value", "standard_error"))
        assert_right(numbers, errors, at_most=2.0)  # with 20 sets, and of halves
