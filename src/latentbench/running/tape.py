"""Records a training step on a processor as a list of its operations, which are called without modules and autograd.

A small network's step is a few dozen short operations, between which Python, distributions and the recording of
gradients take as long as the operations themselves.
"""

import contextlib
import gc
import operator
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.fx.node import base_types, map_aggregate
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from latentbench.errors import UserError
from latentbench.running.watch import Watch

Function = Callable[[Tensor], Tensor]
CHECKED, OFTEN = {1, 4, 16, 64}, 256  # these replays, and each multiple, are compared with ordinary steps
DECIDES = "a part decides by something else than tensors, such as the number of the epoch"
Place = tuple[Any, ...]  # where a tensor lies in memory: two tensors in one place are the same


class Tape:
    """Records the operations of a function of a tensor, gradients and updates of weights among them."""

    warm_up = contextlib.nullcontext

    def __init__(self) -> None:
        self.reason: str | None = None  # why what was recorded cannot be replayed
        self.calls = 0  # of all its replays

    def record(self, function: Function, example: Tensor) -> tuple[Tensor, Function]:
        """The result for the example, and a function that does the same operations with tensors of its shape."""
        with Writer(example) as writer:
            result = function(example)
        self.reason = writer.reason or writer.reason_of_what_is_kept(result)
        if self.reason:
            return result, function
        return result, CheckedReplay(self, writer.replay(result), function, writer.given)


class CheckedReplay:
    """A replay, whose first, fourth, 16th, 64th, and every 256th result has to be the function's own, to the last bit.

    Of a function that decides by other things than tensors, such as Python's own random numbers, or the number of the
    epoch, it is not. If no replay was used before, that leaves a `reason` on the tape.
    Raises: UserError if some were.
    replay: of a batch and what is given
    given: what the function reads and changes beside the batch: tensors, generators
    """

    def __init__(self, tape: Tape, replay: Callable[..., Tensor], function: Function, given: list[Any]) -> None:
        self.tape = tape
        self.replay = replay
        self.function = function
        self.given = given
        self.generators = [torch.default_generator, *(each for each in given if isinstance(each, torch.Generator))]
        self.calls = 0
        self.last: Tensor | None = None  # batch, if its replay was not compared

    def __call__(self, batch: Tensor) -> Tensor:
        """The result for a batch."""
        self.calls += 1
        self.tape.calls += 1
        if self.calls in CHECKED or self.calls % OFTEN == 0:
            self.last = None
            return self._compared(batch)
        self.last = batch
        return self.replay(batch, *self.given)

    def check_last(self) -> None:
        """Compare with the last batch, and leave everything as it is."""
        if self.last is None:
            return
        before, states = _bytes_of(_copies(self.given)), self._states()
        self._compared(self.last.clone())
        for memory, value in zip(_bytes_of(self.given), before, strict=True):
            memory.copy_(value)
        self._set_states(states)
        self.last = None

    def _compared(self, batch: Tensor) -> Tensor:
        """The result of the function. The replay does the same to copies."""
        copies, states = [batch.clone(), *_copies(self.given)], self._states()
        replayed, failure = batch, ""
        try:
            replayed = self.replay(*copies)
        except Exception as error:  # of a function of torch that does not take what the operation does
            failure = f"a replayed step fails ({type(error).__name__})"
        states_after = self._states()
        self._set_states(states)
        result = self.function(batch)
        some = [replayed, copies[0], *_bytes_of(copies[1:]), *states_after]
        if failure or not _have_same_bits(some, [result, batch, *_bytes_of(self.given), *self._states()]):
            reason = failure or f"a replayed step differs from an ordinary one: {DECIDES}"
            if self.tape.calls > 1 and not (failure and self.calls == 1):
                raise UserError(f"after {self.tape.calls} replayed steps {reason}; take replay=false")
            self.tape.reason = reason
        return result

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def _set_states(self, states: list[Tensor]) -> None:
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)


class Writer(Watch):
    """Does the operations inside it, and writes them to a graph of torch.fx, as functions of tensors from before."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.nodes: dict[Place, fx.Node] = {_place(example): self.graph.placeholder("batch")}
        self.given: list[Any] = []  # tensors from before, and what cannot be written down
        self.weights: list[Tensor] = []  # those of them that may have gradients
        self.storages: dict[int, StorageWeakRef] = {}  # made inside; a weak reference keeps its number from reuse
        self.example = example
        self._own(example)
        self.is_mixed = torch.is_autocast_enabled("cpu")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation, and write it down if it makes or changes a tensor."""
        kwargs = kwargs or {}
        before = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.reason = self.reason or _reason_against(func, before)
        if self.reason:
            return super().__torch_dispatch__(func, types, args, kwargs)
        written = map_aggregate(args, self._node), map_aggregate(kwargs, self._node)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.reason = self.reason or _reason_against(func, outputs)
        if self.reason:
            return result
        given = {_storage(tensor) for tensor in before} - self.storages.keys()
        is_known = all(_place(tensor) in self.nodes or _storage(tensor) in given for tensor in outputs)
        if func.namespace == "profiler" or (is_known and not func._schema.is_mutable):
            return result  # such as views of tensors from before, which stay as they are
        node = self.graph.call_function(func, *written)
        for tensor, made in _tensors(result, node):
            if _storage(tensor) not in given and _place(tensor) not in self.nodes:
                self.nodes[_place(tensor)] = made()
                self._own(tensor)
        return result

    def replay(self, result: Tensor) -> Callable[..., Tensor]:
        """A function of a batch and what is given: does what was written down, returns what became of the result."""
        self.graph.output(self._node(result))
        self.graph.eliminate_dead_code()
        for node in self.graph.nodes:
            node.target = _quick(node)
        run = fx.GraphModule({}, self.graph).forward
        context = _without_autocast if self.is_mixed else torch.inference_mode

        def replay(batch: Tensor, *given: Any) -> Tensor:
            with context():
                replayed: Tensor = run(batch, *given)
            return replayed

        return replay

    def reason_of_what_is_kept(self, result: Tensor) -> str | None:
        """Whether tensors that were made inside outlive it, beside the result and gradients, which come anew."""
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        passing = {_storage(tensor) for tensor in (self.example, result, *gradients)}
        made = [reference for key, reference in self.storages.items() if key not in passing]
        if not _all_gone(made):
            gc.collect()  # of objects that refer to each other
        return None if _all_gone(made) else "every step keeps tensors that it made, which a replay would not"

    def _own(self, tensor: Tensor) -> None:
        self.storages[_storage(tensor)] = StorageWeakRef(tensor.untyped_storage())

    def _node(self, value: Any) -> Any:
        """What stands for an argument in the graph: a tensor's node, or the value itself."""
        if not isinstance(value, Tensor):
            return value if value is None or isinstance(value, base_types) else self._placeholder(value)
        place = _place(value)
        if place not in self.nodes:
            if _storage(value) in self.storages:
                self.reason = self.reason or "a part of a tensor was taken in a way that is not recorded"
            self.nodes[place] = self._placeholder(value.detach())
            if value.is_leaf and value.requires_grad:
                self.weights.append(value)
        return self.nodes[place]

    def _placeholder(self, value: Any) -> fx.Node:
        self.given.append(value)
        return self.graph.placeholder(f"given_{len(self.given)}")


def _reason_against(operation: OpOverload, tensors: list[Tensor]) -> str | None:
    """Why an operation on tensors, or one that made them, cannot be written down."""
    if any(tensor.layout != torch.strided or tensor.is_nested for tensor in tensors):
        return "a tensor is sparse or nested"
    if operation._schema.name == "aten::mkldnn_rnn_layer":
        return "an LSTM rounds in another way where no gradients are recorded, as in a replay"
    return None


def _quick(node: fx.Node) -> Any:
    """torch's function or method of the same name, which takes less time to be called than the operation itself."""
    operation = node.target
    if not isinstance(operation, OpOverload) or operation.namespace != "aten":
        return operation
    if any(isinstance(value, list) and None in value for value in node.args):  # as in x[:, indices]
        return operation
    name = operation._schema.name.removeprefix("aten::")
    function, method = getattr(torch, name, None), getattr(Tensor, name, None)
    if isinstance(function, BuiltinFunctionType):
        return function
    is_method = isinstance(method, MethodDescriptorType) and operation._schema.arguments[0].name == "self"
    return method if is_method else operation


def _tensors(result: Any, node: fx.Node) -> Iterator[tuple[Tensor, Callable[[], fx.Node]]]:
    """Each tensor of an operation's result, and what makes its node."""
    if isinstance(result, Tensor):
        yield result, lambda: node
    elif isinstance(result, list | tuple):
        for index, tensor in enumerate(result):
            if isinstance(tensor, Tensor):
                yield tensor, lambda index=index: node.graph.call_function(operator.getitem, (node, index))  # type: ignore[misc]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _place(tensor: Tensor) -> Place:
    layout = tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
    return _storage(tensor), *layout, tensor.dtype, tensor.is_conj(), tensor.is_neg()


def _all_gone(storages: list[StorageWeakRef]) -> bool:
    return all(storage.expired() for storage in storages)


def _copies(values: list[Any]) -> list[Any]:
    """Tensors copied, so that those which share memory share it again, and other values as they are."""
    copies = {storage._cdata: storage.clone() for storage in _storages(values)}
    return [
        value.new_empty(0).set_(copies[_storage(value)], value.storage_offset(), value.shape, value.stride())
        if isinstance(value, Tensor)
        else value
        for value in values
    ]


def _bytes_of(values: list[Any]) -> list[Tensor]:
    """All memory of the tensors among values, each piece once."""
    return [torch.empty(0, dtype=torch.uint8).set_(storage) for storage in _storages(values)]


def _storages(values: list[Any]) -> list[torch.UntypedStorage]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    return list({_storage(tensor): tensor.untyped_storage() for tensor in tensors}.values())


def _have_same_bits(some: list[Tensor], others: list[Tensor]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)) for a, b in pairs)


@contextlib.contextmanager
def _without_autocast() -> Iterator[None]:
    """The conversions of mixed precision are among the operations."""
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        yield
