"""What an own data set gives is checked once, where it enters, with a line that says what came and what is wanted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.contracts.images import SPLITS, GivenImages
from latentbench.data.base import Split, Splits
from latentbench.errors import UserError


def given(change: Callable[[Tensor], Any] = lambda images: images, **more: Any) -> GivenImages:
    """A data set of ten images of noise in each split, after a change of the images or of another field."""
    noise: dict[Split, Any] = {split: torch.randint(2, 256, (10, 1, 8, 8), dtype=torch.uint8) for split in SPLITS}
    labels = {split: torch.zeros(10, dtype=torch.int64) for split in SPLITS}
    fields = {"images": {split: change(noise[split]) for split in SPLITS}, "labels": labels} | more
    return GivenImages(Splits(**fields), name="given")


WANTED = r"give uint8 \(N, C, H, W\) on the CPU"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda x: x / 255, rf"gives train images float32 \(10, 1, 8, 8\) on cpu: {WANTED} and grey values from 0"),
        (lambda x: x.to(torch.int32), r"gives train images int32"),
        (lambda x: x > 5, r"gives train images bool"),
        (lambda x: x.numpy(), rf"gives train images as ndarray: {WANTED}"),
        (lambda x: x[:, 0], rf"gives train images uint8 \(10, 8, 8\) on cpu: {WANTED}"),
        (
            lambda x: x.permute(0, 2, 3, 1),
            rf"\(10, 8, 8, 1\) on cpu: {WANTED}; these have the channels last",
        ),
        (lambda x: x.expand(-1, 4, -1, -1).permute(0, 2, 3, 1), r"\(10, 8, 8, 4\) on cpu: .* have the channels last"),
        (lambda x: x[:0], r"\(0, 1, 8, 8\) on cpu: give at least one image, of at least one pixel"),
        (lambda x: x[..., :0], r"\(10, 1, 8, 0\) on cpu: give at least one image, of at least one pixel"),
        (lambda x: (x > 128).byte(), r"no value is above 1: give values from 0 to 255, 255 for white"),
        (lambda x: x.fill_(7), r"10 of 10 validation images are train images, too: give splits that do not overlap"),
    ],
)
def test_images_that_are_not_as_the_contract_says_are_refused(change: Callable[[Tensor], Any], line: str) -> None:
    with pytest.raises(UserError, match=rf"GivenImages.*{line}"):
        given(change).setup()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 8, 8), (4, 12, 12), (4, 7, 3), (7, 2, 9), (3, 64, 48)])
def test_images_of_any_size_and_number_of_channels_are_taken(shape: tuple[int, int, int]) -> None:
    assert given(lambda x: torch.randint(2, 256, (len(x), *shape), dtype=torch.uint8)).shape == shape


def by_split(*tensors: Tensor) -> dict[Split, Tensor]:
    return dict(zip(SPLITS, tensors, strict=False))


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        (
            "images",
            by_split(*[torch.ones(10, 1, 8, 8)] * 2),
            r"images of train, validation: give train, valid",
        ),
        ("labels", {}, r"labels of no split: give train, validation, test"),
        ("labels", by_split(*[torch.zeros(10)] * 3), r"train labels float32 \(10,\) on cpu: give int64 \(10,\) on"),
        ("labels", by_split(*[torch.zeros(9).long()] * 3), r"train labels int64 \(9,\) on cpu: give int64 \(10,\)"),
        ("factors", by_split(*[torch.zeros(10, 2).long()] * 3), r"give int64 \(10, 0\) .* for each of factor_names"),
    ],
)
def test_other_content_that_is_not_as_the_contract_says_is_refused(field: str, value: Any, line: str) -> None:
    with pytest.raises(UserError, match=rf"GivenImages\.load gives .*{line}"):
        given(**{field: value}).setup()


def test_splits_of_two_shapes_and_something_else_than_splits_are_refused() -> None:
    two_shapes = given()
    two_shapes.given.images["test"] = two_shapes.given.images["test"][..., :4]
    with pytest.raises(UserError, match=r"test images uint8 \(10, 1, 8, 4\) on cpu, unlike the train images .* 8, 8\)"):
        two_shapes.setup()
    with pytest.raises(UserError, match=r"GivenImages\.load returns a list: return Splits"):
        GivenImages([], name="list").setup()  # type: ignore[arg-type]


def test_factors_are_counted_from_0_with_a_name_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GivenImages, "factor_names", ("size",))
    given(factors=by_split(*[torch.zeros(10, 1).long()] * 3)).setup()
    with pytest.raises(UserError, match="gives factors of no split: give train"):
        given().setup()
    with pytest.raises(UserError, match="gives train factors below 0: count values from 0"):
        given(factors=by_split(*[-torch.ones(10, 1).long()] * 3)).setup()


def test_a_few_images_may_be_in_two_splits_and_what_was_read_is_not_changed_by_reading_it() -> None:
    data = given()
    data.given.images["test"][0] = data.given.images["train"][3]
    before = data.given.images["train"].clone()
    first, again = data.images("train"), data.images("train")
    assert torch.equal(first, again)
    assert torch.equal(before, data.splits.images["train"])
