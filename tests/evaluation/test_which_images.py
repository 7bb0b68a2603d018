"""Metrics compare with the images that they should: of the right split, binarized or expected, of the run's seed."""

import torch

from latentbench.contracts.images import GivenImages, few_digits
from latentbench.contracts.options import autoencoder, composed, features_for
from latentbench.data.base import Batches, Splits
from latentbench.evaluation.build import build_data
from latentbench.evaluation.evaluate import make_metric_inputs
from latentbench.metrics.inputs import MetricInputs

FEW, MANY = few_digits(20).splits, few_digits(40).splits
DATA = GivenImages(  # twice as many training images, which a floor of them needs
    Splits(FEW.images | {"train": MANY.images["train"]}, FEW.labels | {"train": MANY.labels["train"]}),
    name="digits",
    binarize="dynamic",
)


def the_inputs() -> MetricInputs:
    model = autoencoder(DATA, latent_size=2, likelihood="bernoulli")
    features = features_for("random", "digits", DATA.shape)
    return make_metric_inputs(model, DATA, {}, features, seed=0, device=torch.device("cpu"), with_other_sets=True)


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
