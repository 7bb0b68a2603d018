"""An annealing says what takes the place of R at every point of a training."""

import pytest
import torch
from torch import Tensor

from latentbench.annealing.base import Annealing
from latentbench.contracts.options import node_of, options, part_of

PROGRESS = [step / 1000 for step in range(1001)]
# R of a batch, of images, of draws of images; below and above 0, as estimates of a divergence are.
GIVEN = [torch.tensor(7.5), torch.linspace(-3, 40, 6), torch.linspace(-3, 40, 12).reshape(3, 4)]


def annealing(option: str) -> Annealing:
    made: Annealing = part_of("annealing", option)
    return made


WEIGHTS = [option for option in options("annealing") if annealing(option).is_weight]


# As its YAML has it, and with another share of the training or of a cycle, where there is one.
SHARES = [(option, {}) for option in options("annealing")]
SHARES += [(option, {"share": 0.4}) for option in options("annealing") if "share" in node_of("annealing", option)]


def weights(option: str, **settings: float) -> list[float]:
    """What multiplies R, over the training."""
    made = part_of("annealing", option, **settings)
    return [made(torch.tensor(1.0), made.number(progress)).item() for progress in PROGRESS]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: str(given.dim()))
@pytest.mark.parametrize("option", options("annealing"))
def test_it_keeps_shape_and_type_and_is_defined_from_beginning_to_end(option: str, given: Tensor) -> None:
    made = annealing(option)
    for dtype in (torch.float32, torch.float64):
        for progress in PROGRESS:
            found = made(given.to(dtype), made.number(progress))
            assert found.shape == given.shape
            assert found.dtype == dtype
            assert found.isfinite().all()


@pytest.mark.parametrize("option", options("annealing"))
def test_it_says_whether_its_number_follows_the_progress(option: str) -> None:
    made = annealing(option)
    assert made.follows_progress == (len({made.number(progress) for progress in PROGRESS}) > 1)


@pytest.mark.parametrize("option", options("annealing"))
def test_it_passes_gradients_on_in_the_end(option: str) -> None:
    given = torch.tensor([3.0, 40.0], requires_grad=True)
    made = annealing(option)
    made(given, made.number(0.999)).sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()
    assert given.grad.all()


@pytest.mark.parametrize("option", WEIGHTS)
def test_a_weight_is_a_number_between_0_and_1_times_r(option: str) -> None:
    made, given = annealing(option), GIVEN[1]
    for progress, weight in zip(PROGRESS, weights(option), strict=True):
        assert 0 <= weight <= 1
        torch.testing.assert_close(made(given, made.number(progress)), weight * given)


@pytest.mark.parametrize(("option", "settings"), [case for case in SHARES if case[0] in WEIGHTS])
def test_a_weight_grows_to_all_of_r_and_then_stays_or_starts_again(option: str, settings: dict[str, float]) -> None:
    found = weights(option, **settings)
    node = {**node_of("annealing", option), **settings}
    cycles = node.get("cycles", 1)
    length = 1000 // cycles
    first = found[:length]
    assert first == sorted(first), "nothing is taken back within a cycle"
    assert first[-1] == 1
    # To rounding: a cycle's beginning need not be among the steps.
    for cycle in range(cycles):
        assert found[cycle * length : (cycle + 1) * length] == pytest.approx(first, abs=1e-6)
    if "share" in node:
        whole = next(step for step, weight in enumerate(first) if weight == 1)
        assert whole == pytest.approx(node["share"] * length, abs=1), "all of it at that share of a cycle"
        assert first[0] == 0
        assert first[whole // 2] == pytest.approx(0.5, abs=0.01), "linearly"
    else:
        assert set(first) == {1}


@pytest.mark.parametrize(("option", "settings"), [case for case in SHARES if case[0] not in WEIGHTS])
def test_what_is_no_weight_is_a_distance_from_a_target_that_grows(option: str, settings: dict[str, float]) -> None:
    made, node = part_of("annealing", option, **settings), {**node_of("annealing", option), **settings}
    for progress in PROGRESS:
        target = node["nats"] * min(1, progress / node["share"])
        number = made.number(progress)
        assert made(torch.tensor(target), number).item() == pytest.approx(0, abs=1e-5)
        for r in (-2.0, 3.0, 100.0):
            assert made(torch.tensor(r), number).item() == pytest.approx(abs(r - target), rel=1e-5)
