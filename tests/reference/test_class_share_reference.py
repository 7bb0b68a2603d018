"""`class_share` against the classifier's own counts."""

from types import SimpleNamespace

import pytest
import torch

from latentbench.contracts.images import data_set
from latentbench.contracts.options import inputs, part_of, untrained
from latentbench.features.classifier import ClassifierFeatures
from latentbench.metrics.class_share import ClassShare, noise_like


def test_shares_are_those_of_the_classifiers_counts() -> None:
    data = data_set("digits")
    test, labels = data.expected_images("test"), data.splits.labels["test"]
    classifier = ClassifierFeatures(weights=None, data_name="digits", shape=data.shape)
    taken, probabilities = classifier.confusion.values()
    threes, eights = test[labels == 3], test[labels == 8]
    metric = ClassShare(classifier=None, labels=[3], others=[8])
    images = {"prior": threes, "gaussian": eights, "real": threes}
    made = metric.measure(inputs(test, data=data, model=untrained(data), images=images)).values
    assert made["class_share/prior"] == pytest.approx((taken[3, 3] / taken[3].sum()).item())
    assert made["class_share/gaussian"] == pytest.approx((taken[8, 3] / taken[8].sum()).item())
    assert made["class_probability/prior"] == pytest.approx((probabilities[3, 3] / taken[3].sum()).item(), abs=5e-4)
    for quantity in ("class_share", "class_probability"):
        assert made[f"{quantity}/other_classes"] == pytest.approx(made[f"{quantity}/gaussian"], abs=5e-4)
    chosen_by = inputs(test, data=data, model=untrained(data), images=images, split="validation")
    assert not [key for key in metric.measure(chosen_by).values if "other_classes" in key], "these are test images"
    assert made["class_probability/gaussian"] < 0.1 < 0.8 < made["class_probability/prior"] <= 1


def test_an_image_between_two_classes_counts_as_one_or_none_but_its_probability_as_a_part() -> None:
    metric = part_of("metric", "class_share", labels=[1, 2])
    metric.network = SimpleNamespace(probabilities=lambda images: images)
    metric.update(torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.5, 0.4]]))
    made = metric.compute()
    assert made["class_share"].value.item() == 0.5
    assert made["class_probability"].value.item() == pytest.approx(0.75)


def test_noise_has_the_mean_and_the_covariance_of_the_images_and_the_same_numbers_in_any_order() -> None:
    images = 0.5 + 0.1 * torch.randn(5000, 1, 2, 2) @ torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    noise = noise_like(images)
    assert torch.equal(noise_like(images.flip(0)), noise)
    error = 4 / len(images) ** 0.5
    assert noise.flatten(1).mean(0) == pytest.approx(images.flatten(1).mean(0), abs=0.15 * error)
    assert noise.flatten(1).T.cov() == pytest.approx(images.flatten(1).T.cov(), abs=0.02 * error)
    assert noise.flatten(1).T.cov().diagonal().min() > 0.008


def test_a_share_that_noise_has_too_has_a_caveat() -> None:
    metric = part_of("metric", "class_share", labels=[1])
    # Takes bright images for class 1, whatever they show.
    metric.network = SimpleNamespace(probabilities=lambda x: torch.stack([1 - x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1))
    metric.update(0.7 + 0.1 * torch.randn(200, 1, 4, 4))
    assert "noise" in metric.compute()["class_share"].caveat
    # Takes images with one edge between their halves for class 1.
    metric.reset()
    edge = lambda x: (x[..., :2].mean((1, 2, 3)) - x[..., 2:].mean((1, 2, 3))).abs().clamp(0, 1)  # noqa: E731
    metric.network = SimpleNamespace(probabilities=lambda x: torch.stack([1 - edge(x), edge(x)], 1))
    halves = torch.zeros(200, 1, 4, 4)
    halves[::2, ..., :2] = 1
    halves[1::2, ..., 2:] = 1
    metric.update(halves)
    made = metric.compute()
    assert made["class_share"].value == 1
    assert made["class_share"].caveat == ""
