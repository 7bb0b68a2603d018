"""What is measured against validation images is never told by a test image, nor compares images with themselves."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.contracts.images import GivenImages, few_digits
from latentbench.contracts.options import brief_metric, inputs, options, part_of, untrained
from latentbench.data.base import ImageData, Split, Splits
from latentbench.evaluation.evaluate import evaluate
from latentbench.metrics.base import ImageMetric
from latentbench.metrics.class_share import OTHER_CLASSES
from latentbench.metrics.inputs import MetricInputs
from latentbench.records.keys import TEST, VALIDATION, View, floor_key, is_floor, parse_set
from latentbench.records.measuring import Cells, Evaluation

METRICS = options("metric")
N = 30  # images of the validation and the test split
SETS = ["prior", "gaussian"]


@pytest.mark.parametrize(
    ("split", "set_name", "recorded"),
    [
        (TEST, "prior", "prior"), (VALIDATION, "prior", "prior@validation"), (VALIDATION, "real", "real@validation"),
        (TEST, "test", "test"), (VALIDATION, "test", "validation"),
    ],
)  # fmt: skip
def test_a_key_says_what_was_measured_against(split: str, set_name: str, recorded: str) -> None:
    assert View(split).recorded(set_name) == recorded
    assert parse_set(recorded) == (set_name, View(split))


def test_the_floor_of_a_key_was_measured_in_the_same_way() -> None:
    assert floor_key("fid/prior@validation") == "fid/real@validation"
    assert floor_key("fid/gmm") == "fid/real"
    assert is_floor("fid/real@validation")
    assert not is_floor("fid/prior@validation")


def some_data(*, changed: Split | None = None) -> ImageData:
    """Twice as many training images as others; the images of one split changed."""
    splits = few_digits(2 * N).splits
    sizes: dict[Split, int] = {"train": 2 * N, "validation": N, "test": N}
    images = {split: splits.images[split][:n] for split, n in sizes.items()}
    if changed:
        images[changed] = 255 - images[changed]
    labels = {split: splits.labels[split][:n] for split, n in sizes.items()}
    return GivenImages(Splits(images, labels), name="digits")


@functools.cache
def measured(changed: Split | None = None) -> Evaluation:
    """Every metric, against test and against validation images."""
    data = some_data(changed=changed)
    return evaluate(
        model=untrained(some_data()),
        data=data,
        samplers={name: part_of("sampler", name) for name in SETS},
        features={"classifier": part_of("features", "classifier", data_name="digits", shape=data.shape)},
        metrics={name: brief_metric(name) for name in METRICS},
        seed=0,
        device=torch.device("cpu"),
        cells={(name, View(split)): Cells(frozenset(SETS), True) for name in METRICS for split in (TEST, VALIDATION)},
    )


def of_split(numbers: dict[str, Any], split: str) -> dict[str, Any]:
    return {key: number for key, number in numbers.items() if parse_set(key.partition("/")[2])[1].split == split}


def test_other_test_images_leave_every_number_of_validation_images_as_it_was() -> None:
    before, after = measured(), measured("test")
    for name in ("metrics", "standard_errors", "skipped", "caveats"):
        assert of_split(getattr(before, name), VALIDATION) == of_split(getattr(after, name), VALIDATION), name
    assert before.metrics["fid/prior"] != after.metrics["fid/prior"]
    assert before.metrics["fid/prior@validation"] != measured("validation").metrics["fid/prior@validation"]


def test_every_number_of_test_images_has_one_of_validation_images_but_those_of_validation_images_alone() -> None:
    made = measured()
    known = {**made.metrics, **made.skipped}
    of_sets = {f"{key.partition('/')[0]}/{parse_set(key.partition('/')[2])[0]}" for key in of_split(known, VALIDATION)}
    left_out = {key for key in known if key.endswith(("/reconstruction", "/interpolation", f"/{OTHER_CLASSES}"))}
    assert of_sets == of_split(known, TEST).keys() - left_out
    assert not made.failed


def features_of(images: Tensor) -> Any:
    return part_of("features", "pixels", data_name="digits", shape=tuple(images.shape[1:]))


# `cmmd` has no number in these features.
OF_SETS = [
    name for name in METRICS if isinstance(part_of("metric", name), ImageMetric) and name not in ("parzen", "cmmd")
]


@pytest.mark.parametrize("option", OF_SETS)
def test_a_number_is_that_of_test_images_where_these_are_the_validation_images(option: str) -> None:
    data = some_data()
    parts = data.splits.images, data.splits.labels
    swapped = GivenImages(
        Splits(*({"test": of["validation"], "validation": of["train"][N:], "train": of["train"][:N]} for of in parts)),
        name="digits",
    )
    made = some_data().expected_images("test").flip(0) * 0.9
    features = features_of(made)

    def given(data: ImageData) -> MetricInputs:
        reference, real = data.expected_images("test"), data.expected_images("validation")
        return inputs(reference, data=data, features=features, images={"prior": made, "real": real})

    seen = brief_metric(option).measure(given(data).against_validation())
    known = brief_metric(option).measure(given(swapped))
    for here, there in ((seen.values, known.values), (seen.standard_errors, known.standard_errors)):
        of_sets = {key: value for key, value in there.items() if not key.endswith(f"/{OTHER_CLASSES}")}  # test images
        assert here == pytest.approx(of_sets, rel=1e-6, nan_ok=True)
    assert {"prior", "real"} == {key.partition("/")[2] for key in seen.values}


def test_a_bandwidth_is_not_chosen_on_the_images_that_it_is_for() -> None:
    data = some_data()
    metric: Any = part_of("metric", "parzen")
    metric.prepare_reference(inputs(data.images("test"), data=data).against_validation())
    assert torch.equal(metric.test, data.images("validation").flatten(1))
    assert torch.equal(metric.validation, data.images("train").flatten(1))


def test_a_floor_of_too_few_training_images_is_skipped_with_a_reason() -> None:
    data = few_digits(N)
    seen = inputs(data.images("test"), data=data, images={"real": data.images("validation")}).against_validation()
    assert seen.skipped == {"real": f"the floor needs {2 * N} training images, two sets of {N}"}
    assert "real" not in seen.images
