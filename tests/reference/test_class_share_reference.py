"""`class_share` against the classifier's own counts."""

from types import SimpleNamespace

import pytest
import torch

from latentbench.contracts.options import data_set, inputs, part_of, untrained
from latentbench.features.classifier import ClassifierFeatures
from latentbench.metrics.class_share import ClassShare


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
    for quantity in metric.quantities:
        assert made[f"{quantity}/other_classes"] == pytest.approx(made[f"{quantity}/gaussian"], abs=5e-4)
    assert made["class_probability/gaussian"] < 0.1 < 0.8 < made["class_probability/prior"] <= 1


def test_an_image_between_two_classes_counts_as_one_or_none_but_its_probability_as_a_part() -> None:
    metric = part_of("metric", "class_share", labels=[1, 2])
    metric.network = SimpleNamespace(probabilities=lambda images: images)
    metric.update(torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.5, 0.4]]))
    made = {name: estimate.value.item() for name, estimate in metric.compute().items()}
    assert made == {"class_share": 0.5, "class_probability": pytest.approx(0.75)}
