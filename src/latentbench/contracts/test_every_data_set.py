"""A data set has fixed splits that share no image, and batches that miss none."""

import collections
import itertools

import pytest
import torch
from torch import Tensor

from latentbench.configuration.catalogue import option_description, option_file
from latentbench.contracts.images import SPLITS, data_set, shown_to_trainer
from latentbench.contracts.options import node_of, options
from latentbench.contracts.own_files import reads_own_files
from latentbench.data.base import BINARIZATIONS, ImageData, Split, Splits
from latentbench.errors import UserError
from latentbench.evaluation.build import build

EVERY = [(option, binarize) for option in options("data") for binarize in BINARIZATIONS]


MAX_SHARED = 0.01  # share of a split's images: official training and test images may have some in common
MAX_CHANGE = 0.05  # of the share of a class in an official test split, which is as it was published
FEW = 3001  # images of every split that are looked at pixel by pixel: several batches, the last a partial one


def binarized(option: str, binarize: str, seed: int = 0) -> ImageData:
    """A data set of its own, of a few images that are read from disk once."""
    whole = data_set(option).splits
    made: ImageData = build(node_of("data", option), seed=seed, binarize=binarize)
    made._splits = Splits(
        {split: whole.images[split][:FEW] for split in SPLITS}, {split: whole.labels[split][:FEW] for split in SPLITS}
    )
    return shown_to_trainer(made)


def train_epochs(data: ImageData, n: int = 2) -> list[Tensor]:
    """The images of some epochs of training, in their order."""
    batches = data.train_batches()
    return [torch.cat(list(batches)) for _ in range(n)]


@pytest.mark.parametrize("option", [option for option in options("data") if "flip" in node_of("data", option)])
def test_half_of_its_training_images_are_mirrored_anew_in_every_epoch(option: str) -> None:
    data = binarized(option, "none")
    plain, plain_again = train_epochs(data), train_epochs(binarized(option, "none"))
    assert all(map(torch.equal, plain, plain_again))
    data.flip = True
    mirrored = train_epochs(data)
    assert all(map(torch.equal, mirrored, train_epochs(data))), "an epoch depends on the seed and its number alone"
    shares = []
    for one, other in zip(plain, mirrored, strict=True):
        is_same, is_other = ((one == wanted).flatten(1).all(1) for wanted in (other, other.flip(-1)))
        assert (is_same | is_other).all(), "the same images in the same order, some of them mirrored"
        known = is_same != is_other
        shares.append(is_other[known])
    if sum(known.sum() for known in (shares[0], shares[1])) > 200:
        assert 0.4 < torch.cat(shares).double().mean() < 0.6
    assert torch.equal(
        torch.cat(list(data.val_dataloader())), torch.cat(list(binarized(option, "none").val_dataloader()))
    )


def has_greys(data: ImageData) -> bool:
    """Whether its files have more than black and white."""
    return not set(data.splits.images["test"].unique().tolist()).issubset({0, 255})


def counted(images: Tensor) -> collections.Counter[bytes]:
    """How often each image is there."""
    exact = images if images.dtype == torch.uint8 else (images * 255).round().byte()
    return collections.Counter(row.tobytes() for row in exact.flatten(1).numpy())


@pytest.mark.parametrize("option", options("data"))
def test_its_splits_have_the_sizes_that_it_says_and_labels_for_all(option: str) -> None:
    data = data_set(option)
    sizes = " / ".join(f"{data.size(split):,}" for split in SPLITS)
    path = option_file("data", option)
    assert path is not None
    assert reads_own_files(node_of("data", option)) or sizes in f"{option_description(path)} {type(data).__doc__}"
    for split in SPLITS:
        assert data.splits.images[split].dtype == torch.uint8
        assert data.splits.images[split].shape == (data.size(split), *data.shape)
        assert data.splits.labels[split].shape == (data.size(split),)
        assert data.splits.labels[split].dtype == torch.int64


@pytest.mark.parametrize("option", options("data"))
def test_its_factors_are_known_of_every_image_or_of_none(option: str) -> None:
    data = data_set(option)
    highest = None
    for split in SPLITS:
        factors = data.factors(split)
        assert (factors is not None) == bool(data.factor_names)
        if factors is not None:
            assert factors.dtype == torch.int64
            assert factors.shape == (data.size(split), len(data.factor_names))
            assert torch.equal(factors.amin(0), torch.zeros_like(factors[0])), "values are counted from 0"
            assert highest is None or torch.equal(factors.amax(0), highest), "no split lacks a value"
            highest = factors.amax(0)


@pytest.mark.parametrize("option", options("data"))
def test_no_image_is_in_two_splits(option: str) -> None:
    data = data_set(option)
    seen = {split: set(counted(data.splits.images[split])) for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        shared = len(seen[one] & seen[other])
        assert shared <= MAX_SHARED * len(seen[other]), f"{one} and {other} share images"


@pytest.mark.parametrize("option", options("data"))
def test_every_split_has_every_class_in_like_proportion(option: str) -> None:
    data = data_set(option)
    classes = max(int(data.splits.labels[split].max()) for split in SPLITS) + 1
    shares = {split: data.splits.labels[split].bincount(minlength=classes) / data.size(split) for split in SPLITS}
    # Five standard errors, of classes of about a tenth.
    errors = {split: 5 * 0.3 / data.size(split) ** 0.5 for split in SPLITS}
    assert (shares["validation"] - shares["train"]).abs().max() < errors["validation"]
    assert (shares["test"] - shares["train"]).abs().max() < max(errors["test"], MAX_CHANGE)


@pytest.mark.parametrize("option", options("data"))
def test_training_images_are_not_in_the_order_of_their_classes(option: str) -> None:
    labels = data_set(option).splits.labels["train"]
    by_chance = (labels.bincount() / len(labels)).square().sum()
    alike = (labels[1:] == labels[:-1]).float().mean()
    assert alike < by_chance + 5 / len(labels) ** 0.5 + 1e-6  # a standard error is below half of that


@pytest.mark.parametrize(("option", "binarize"), EVERY)
def test_images_are_floats_in_range_and_black_or_white_where_it_says_so(option: str, binarize: str) -> None:
    data = binarized(option, binarize)
    for split in SPLITS[1:]:
        for images in (data.images(split), data.expected_images(split)):
            assert images.dtype == torch.float32
            assert images.shape == (data.size(split), *data.shape)
            assert 0 <= images.min() < images.max() <= 1
    assert data.is_binary == (binarize != "none")
    assert set(data.images("test").unique().tolist()).issubset({0, 1}) == (data.is_binary or not has_greys(data))
    if binarize == "threshold":
        assert torch.equal(data.images("test"), (binarized(option, "none").images("test") >= 0.5).float())


@pytest.mark.parametrize(("option", "binarize"), EVERY)
def test_the_expected_image_is_the_grey_one_or_the_cut_one(option: str, binarize: str) -> None:
    data = binarized(option, binarize)
    alike = binarized(option, "none" if binarize == "dynamic" else binarize)
    assert torch.equal(data.expected_images("test"), alike.images("test"))


@pytest.mark.parametrize("option", options("data"))
@pytest.mark.parametrize("split", SPLITS)
def test_dynamic_pixels_are_white_as_often_as_they_are_bright(option: str, split: Split) -> None:
    data = binarized(option, "dynamic")
    levels = data.splits.images[split].flatten().long()
    white = levels.bincount(data.images(split).flatten().double(), minlength=256)
    pixels, brightness = levels.bincount(minlength=256), torch.arange(256) / 255
    # Five standard errors; black and white pixels stay what they are.
    allowed = 5 * (pixels * brightness * (1 - brightness)).sqrt()
    assert ((white - pixels * brightness).abs() <= allowed + 1e-6 * pixels).all()


@pytest.mark.parametrize(("option", "binarize"), EVERY)
def test_validation_and_test_images_are_the_same_for_every_seed_and_in_every_epoch(option: str, binarize: str) -> None:
    one, other = binarized(option, binarize, seed=0), binarized(option, binarize, seed=1)
    for split in SPLITS[1:]:
        assert torch.equal(one.images(split), other.images(split))
    loader = one.val_dataloader()
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), one.images("validation"))


@pytest.mark.parametrize(("option", "binarize"), [pair for pair in EVERY if pair[1] != "dynamic"])
def test_an_epoch_has_every_training_image_once_in_a_new_order(option: str, binarize: str) -> None:
    data = binarized(option, binarize)
    loader = data.train_batches()
    batches, again = list(loader), list(loader)
    assert len(batches) == len(loader) == -(-data.size("train") // data.batch_size)
    assert [len(batch) for batch in batches[:-1]] == [data.batch_size] * (len(batches) - 1)
    assert len(batches[-1]) == (data.size("train") - 1) % data.batch_size + 1, "the last, partial batch is not dropped"
    wanted = counted(data.images("train"))
    assert counted(torch.cat(batches)) == counted(torch.cat(again)) == wanted
    assert not torch.equal(batches[0], again[0])


@pytest.mark.parametrize("option", options("data"))
def test_training_pixels_are_drawn_anew_every_epoch_with_the_grey_value_as_their_mean(option: str) -> None:
    data = binarized(option, "dynamic")
    loader = data.train_batches()
    first, second = torch.cat(list(loader)), torch.cat(list(loader))
    assert (counted(first) != counted(second)) == has_greys(data), "not only in another order"
    grey = data.expected_images("train").double()
    spread = (grey * (1 - grey)).sum(0).sqrt()
    for epoch in (first, second):
        # Six standard errors, as hundreds of pixels are looked at; and three, for those that are hardly ever white.
        assert ((epoch.double().sum(0) - grey.sum(0)).abs() <= 6 * spread + 3).all()


@pytest.mark.parametrize(("option", "binarize"), EVERY)
def test_the_seed_alone_settles_the_batches(option: str, binarize: str) -> None:
    def two_epochs(seed: int) -> list[Tensor]:
        torch.manual_seed(torch.seed())
        loader = binarized(option, binarize, seed=seed).train_batches()
        return [next(iter(loader)), next(iter(loader))]

    one, same, other = two_epochs(5), two_epochs(5), two_epochs(6)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("option", options("data"))
def test_what_makes_no_sense_is_said_in_the_words_of_the_command_line(option: str) -> None:
    node = node_of("data", option)
    with pytest.raises(UserError, match=r"data\.batch_size=0"):
        build(node, seed=0, batch_size=0)
    with pytest.raises(UserError, match=rf"data\.binarize=sometimes: choose one of {', '.join(BINARIZATIONS)}"):
        build(node, seed=0, binarize="sometimes")
