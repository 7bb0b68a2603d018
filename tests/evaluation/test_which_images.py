"""Metrics compare with the images that they should: of the right split, binarized or expected, of the run's seed."""

import itertools
from unittest import mock

import pytest
import torch

from latentbench.contracts.images import SPLITS, GivenImages, few_digits
from latentbench.contracts.options import autoencoder, composed, features_for, part_of
from latentbench.data.base import Batches, ImageData, Split, Splits
from latentbench.evaluation.build import build_data
from latentbench.evaluation.evaluate import make_metric_inputs
from latentbench.metrics.inputs import MetricInputs
from latentbench.samplers.base import Sampler

FEW, MANY = few_digits(20).splits, few_digits(40).splits
DATA = GivenImages(  # twice as many training images, which a floor of them needs
    Splits(FEW.images | {"train": MANY.images["train"]}, FEW.labels | {"train": MANY.labels["train"]}),
    name="digits",
    binarize="dynamic",
)


def the_inputs(data: ImageData = DATA, seed: int = 0, **samplers: Sampler) -> MetricInputs:
    model = autoencoder(data, latent_size=2, likelihood="bernoulli")
    features = features_for("random", "digits", data.shape)
    cpu = torch.device("cpu")
    return make_metric_inputs(model, data, samplers, features, seed=seed, device=cpu, with_other_sets=True)


def test_sets_are_compared_with_expected_test_images_and_codes_are_those_of_binarized_ones() -> None:
    made = the_inputs()
    n = len(made.reference)
    assert not torch.equal(DATA.expected_images("test"), DATA.images("test")), "or the rest tells nothing"
    assert torch.equal(made.reference, DATA.expected_images("test")[:n])
    assert torch.equal(made.images["real"], DATA.expected_images("validation")[:n])
    assert torch.equal(made.held_out, DATA.images("test"))
    decoded = made.model.decode(made.model.encode(DATA.images("validation")[:n]))
    torch.testing.assert_close(made.images["reconstruction"], decoded)


def test_against_validation_images_it_is_the_same_with_these() -> None:
    made = the_inputs().against_validation()
    n = len(made.reference)
    assert torch.equal(made.reference, DATA.expected_images("validation")[:n])
    assert torch.equal(made.held_out, DATA.images("validation"))
    assert torch.equal(made.images["real"], DATA.expected_images("train")[-n:])


def test_features_of_real_images_are_those_of_the_split_they_are_from() -> None:
    made = the_inputs()
    for inputs in (made, made.against_validation()):  # which share what is computed already
        torch.testing.assert_close(inputs.features_of("real"), inputs.features(inputs.images["real"]))
        torch.testing.assert_close(inputs.reference_features, inputs.features(inputs.reference))


def test_the_data_of_a_run_has_its_seed_and_no_epoch_is_another_seeds() -> None:
    assert build_data(composed("seed=3")).seed == 3
    images = DATA.splits.images["train"]
    first, second = (
        Batches(images, binarize="none", batch_size=len(images), seed=seed, shuffle=True, flip=False, epoch=epoch)
        for seed, epoch in ((0, 1), (1, 0))
    )
    assert not torch.equal(next(iter(first)), next(iter(second)))


@pytest.mark.parametrize("sizes", [(30, 20), (20, 30)])
def test_every_set_has_as_many_images_as_the_smaller_one_of_validation_and_test_images(sizes: tuple[int, int]) -> None:
    n: dict[Split, int] = dict(zip(SPLITS, (40, *sizes), strict=True))
    images = {split: MANY.images[split][: n[split]] for split in SPLITS}
    labels = {split: MANY.labels[split][: n[split]] for split in SPLITS}
    data = GivenImages(Splits(images, labels), name="digits", binarize="threshold")
    made = the_inputs(data, prior=part_of("sampler", "prior"))
    assert {name: len(of_set) for name, of_set in made.images.items()} == dict.fromkeys(
        ("prior", "real", "reconstruction", "interpolation"), 20
    )
    assert (len(made.reference), len(made.held_out)) == (20, n["test"])


def test_a_sampler_is_fitted_by_the_seed_of_the_run() -> None:
    sampler = part_of("sampler", "gaussian")
    with mock.patch.object(sampler, "fit", wraps=sampler.fit) as fit:
        the_inputs(seed=5, gaussian=sampler)
    assert fit.call_args.kwargs["seed"] == 5


def test_the_pixels_of_every_split_are_drawn_by_random_numbers_of_its_own() -> None:
    grey = {split: torch.full((20, 1, 8, 8), 127 + i, dtype=torch.uint8) for i, split in enumerate(SPLITS)}
    labels = {split: torch.zeros(20, dtype=torch.int64) for split in SPLITS}
    data, other = (GivenImages(Splits(grey, labels), name="grey", binarize="dynamic", seed=seed) for seed in (0, 1))
    for one, another in itertools.combinations(SPLITS, 2):
        alike = (data.images(one) == data.images(another)).float().mean().item()
        assert alike == pytest.approx(1 / 2, abs=0.07), "five standard errors of 1,280 pixels"
    assert all(torch.equal(data.images(split), other.images(split)) for split in SPLITS), "the same in every run"
