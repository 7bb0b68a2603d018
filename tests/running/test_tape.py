"""Functions of tensors that are recorded as a list of their operations."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from latentbench.errors import UserError
from latentbench.running.tape import CheckedReplay, Function, Tape

WEIGHT = torch.linspace(0.5, 1.5, 6).reshape(2, 3)


def in_place_through_views(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:].mul_(2)
    y.T[0] += 1
    return y @ WEIGHT.T


def parts_of_lists(x: Tensor) -> Tensor:
    first, *_, last = x.split(1, dim=1)
    values, order = x.sort(dim=1)
    return first * last + values.gather(1, order).sum(1, keepdim=True)


def random_numbers(x: Tensor) -> Tensor:
    torch.rand(3)  # which nothing reads, but which moves the generator
    return torch.bernoulli(x.sigmoid()) + torch.randn_like(x) + nn.functional.dropout(x, 0.5)


def picked(x: Tensor) -> Tensor:
    return x[:, torch.arange(2)].sum() + x[1].max() - x.logsumexp(1).min()


def not_a_number(x: Tensor) -> Tensor:
    return (x - 100).log() / 0


def nothing_but_a_weight(x: Tensor) -> Tensor:
    return WEIGHT


def conjugates(x: Tensor) -> Tensor:
    y = torch.complex(x, 2 * x)
    return (y.conj() * y).real + torch.view_as_real(y.conj().resolve_conj())[..., 1] + y.conj().imag


class Draws:
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(2)

    def __call__(self, x: Tensor) -> Tensor:
        return x + torch.rand(3, generator=self.generator)


class Counts:
    """Changes a tensor from before, and gradients of it."""

    def __init__(self) -> None:
        self.total = torch.zeros(3)
        self.weight = torch.ones(3, requires_grad=True)

    def __call__(self, x: Tensor) -> Tensor:
        self.total += x.sum(0)
        self.weight.grad = None
        (self.weight * x).square().mean().backward()
        with torch.no_grad():
            self.weight -= 0.1 * self.weight.grad
        return self.weight.detach() + self.total


FUNCTIONS: list[Callable[[], Function]] = [
    lambda: in_place_through_views,
    lambda: parts_of_lists,
    lambda: random_numbers,
    lambda: picked,
    lambda: not_a_number,
    lambda: nothing_but_a_weight,
    lambda: conjugates,
    Draws,
    Counts,
]


@pytest.mark.parametrize("make", FUNCTIONS)
def test_a_recorded_function_has_the_bits_of_the_function(make: Callable[[], Function]) -> None:
    batches = torch.randn(12, 4, 3, generator=torch.Generator().manual_seed(1)).unbind()
    function, tape = make(), Tape()
    torch.manual_seed(0)
    expected = [function(batch).clone() for batch in batches]
    recorded = make()
    torch.manual_seed(0)
    first, replay = tape.record(recorded, batches[0])
    found = [first.clone(), *(replay(batch).clone() for batch in batches[1:])]
    assert tape.reason is None
    assert replay is not recorded
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert torch.equal(a.nan_to_num(), b.nan_to_num()), index


def test_a_replay_does_not_call_the_function_but_to_check() -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x)
        return 2 * x

    _, replay = Tape().record(function, torch.ones(2))
    for _ in range(64):
        replay(torch.ones(2))
    assert len(calls) == 1 + 4  # the 1st, 4th, 16th and 64th


def test_numbers_of_numpy_are_found_out() -> None:
    def function(x: Tensor) -> Tensor:
        return x + torch.from_numpy(x.numpy() * 2)

    tape = Tape()
    result, replay = tape.record(function, torch.ones(3))
    assert result.tolist() == [3, 3, 3]
    assert replay is function
    assert "test_tape.py (function) waits for values" in str(tape.reason)


def test_a_part_of_a_tensor_that_is_not_recorded_is_found_out() -> None:
    def function(x: Tensor) -> Tensor:
        y = 2 * x
        part = torch.empty(0)
        with torch._C._DisableTorchDispatch():
            part = y[1:]
        return y.sum() + part.sum()

    tape = Tape()
    result, replay = tape.record(function, torch.ones(3))
    assert float(result) == 10
    assert replay is function
    assert "a part of a tensor" in str(tape.reason)


def sparse_gradient(x: Tensor) -> Tensor:
    weight = torch.ones(4, 3, requires_grad=True)
    rows = nn.functional.embedding(torch.arange(2), weight, sparse=True)
    return torch.autograd.grad((rows * x.mean()).sum(), weight)[0].to_dense()


LSTM = nn.LSTM(3, 5)


def recurrent(x: Tensor) -> Tensor:
    y: Tensor = LSTM(x[:, None])[0].detach()
    return y


def values_in_a_list(x: Tensor) -> Tensor:
    return x * 2 if x.sum().tolist() > 1e6 else x


def a_length_that_values_decide(x: Tensor) -> Tensor:
    return x * len(torch.bincount(x[0].long()))


def infinite_part(x: Tensor) -> Tensor:
    return (x * complex(0, float("inf"))).imag


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (sparse_gradient, "a tensor is sparse or nested"),
        (recurrent, "an LSTM rounds in another way"),
        (values_in_a_list, "(values_in_a_list) waits for values of the device, or copies some to it (Tensor.tolist)"),
        (a_length_that_values_decide, "(aten::bincount)"),
        (infinite_part, "a replayed step fails (NameError)"),
    ],
)
def test_what_cannot_be_replayed_says_why(function: Function, reason: str) -> None:
    tape, x = Tape(), torch.ones(4, 3)
    result, replay = tape.record(function, x)
    assert torch.equal(result, function(x))
    assert torch.equal(replay(x), function(x))
    assert reason in str(tape.reason)


class Keeps:
    """Keeps a tensor in an object that nothing watches, and reads it later."""

    def __init__(self) -> None:
        self.kept = SimpleNamespace(mean=torch.zeros(3))

    def __call__(self, x: Tensor) -> Tensor:
        self.kept.mean = (self.kept.mean + x.mean(0)) / 2
        return 2 * x


def test_a_tensor_that_is_kept_is_found_out() -> None:
    tape = Tape()
    _, replay = tape.record(keeps := Keeps(), torch.ones(4, 3))
    assert tape.reason == "every step keeps tensors that it made, which a replay would not"
    assert replay is keeps


def test_a_batch_that_is_changed_is_there_again_for_the_check() -> None:
    tape, double = Tape(), lambda x: x.mul_(2).sum()
    _, replay = tape.record(double, torch.ones(2))
    batch = torch.ones(2)
    assert float(replay(batch)) == 4
    assert tape.reason is None
    assert batch.tolist() == [2, 2]


def test_a_check_leaves_everything_as_it_is() -> None:
    counts, tape = Counts(), Tape()
    _, replay = tape.record(counts, torch.ones(4, 3))
    replay(torch.ones(4, 3))
    replay(torch.ones(4, 3))
    total, weight, random = counts.total.clone(), counts.weight.detach().clone(), torch.get_rng_state()
    assert isinstance(replay, CheckedReplay)
    replay.check_last()
    assert torch.equal(counts.total, total)
    assert torch.equal(counts.weight, weight)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_check_of_another_shape_finds_out_what_replays_did_wrong() -> None:
    factor = [1]
    tape, function = Tape(), lambda x: factor[0] * x
    _, long = tape.record(function, torch.ones(3))
    _, short = tape.record(function, torch.ones(2))
    long(torch.ones(3))
    factor[0] = 2
    long(torch.ones(3))
    with pytest.raises(UserError, match="after 3 replayed steps a replayed step differs"):
        short(torch.ones(2))


def test_after_a_replay_that_fails_everything_is_as_the_function_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = lambda node: torch.sin if node.name.startswith("pow") else node.target  # noqa: E731
    monkeypatch.setattr("latentbench.running.tape._quick", quick)
    counts, tape = Counts(), Tape()
    _, replay = tape.record(counts, torch.ones(4, 3))
    assert tape.reason is None
    replay(torch.ones(4, 3))
    assert tape.reason is not None
    assert counts.total.tolist() == [8, 8, 8]
