"""The loss of every method that regularizes codes, against the published one written out."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from published import SIZES, Loss, Seen, assert_same_up_to_a_factor, model_and_batch, seen_by, squared_error

LOSSES: dict[str, Callable[[Seen], Loss]] = {}


def of(method: str) -> Callable[[Callable[[Seen], Loss]], Callable[[Seen], Loss]]:
    """Names the method whose published loss a function writes out."""

    def keep(written: Callable[[Seen], Loss]) -> Callable[[Seen], Loss]:
        LOSSES[method] = written
        return written

    return keep


@of("wae_mmd")
def wae_mmd(seen: Seen) -> Loss:
    """wae.py of the authors: 0.05 mean_n |x - x'|^2 + 10 MMD, inverse multiquadratics of seven scales."""
    (draws,) = seen.draws
    n = len(seen.z)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a - b).square().sum()
        widths = [scale * 2 * seen.z.shape[1] for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
        return torch.stack([width / (width + squared) for width in widths]).sum()

    within = sum(kernel(a, b) for points in (seen.z, draws) for a, b in itertools.permutations(points, 2))
    between = sum(kernel(a, b) for a, b in itertools.product(seen.z, draws))
    return Loss(0.05 * squared_error(seen), 10 * (within / (n * (n - 1)) - 2 * between / n**2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", LOSSES)
def test_the_loss_is_the_published_one_up_to_a_factor(
    method: str, size: tuple[tuple[int, int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = model_and_batch(method, size)
    terms, seen, _ = seen_by(model, x, monkeypatch)
    assert_same_up_to_a_factor(model, terms, LOSSES[method](seen))
