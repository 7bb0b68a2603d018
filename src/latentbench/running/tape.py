"""Records a training step on a processor as a list of its operations, which are called without modules and autograd.

A small network's step is a few dozen short operations, between which Python, distributions and the recording of
gradients take as long as the operations themselves.
"""

import contextlib
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
CHECKED = {4**n for n in range(20)}  # replayed steps that are compared with ordinary ones
Place = tuple[Any, ...]  # where a tensor lies in memory: two tensors in one place are the same


class Tape:
    """Records the operations of a function of a tensor, gradients and updates of weights among them."""

    warm_up = contextlib.nullcontext

    def __init__(self) -> None:
        self.reason: str | None = None  # why what was recorded cannot be replayed

    def record(self, function: Function, example: Tensor) -> tuple[Tensor, Function]:
        """The result for the example, and a function that does the same operations with tensors of its shape."""
        with Writer(example) as writer:
            result = function(example)
        self.reason = writer.reason
        return result, function if self.reason else self._checked(writer, writer.replay(result), function)

    def _checked(self, writer: "Writer", replay: Function, function: Function) -> Function:
        """The replay, whose first, fourth, 16th, 64th, ... result has to be the function's own, to the last bit.

        Of a function that decides by other things than tensors, such as Python's own random numbers, or the number of
        the epoch, it is not. The first such check leaves a `reason`. Raises: UserError if it is a later one.
        """
        calls = 0
        given = [value for value in writer.given if isinstance(value, Tensor)]

        def state() -> list[Tensor]:
            return [*(tensor.clone() for tensor in given), torch.get_rng_state()]

        def call(batch: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls not in CHECKED:
                return replay(batch)
            before = state()
            try:
                replayed = [replay(batch), *state()]
            except (RuntimeError, TypeError):  # of a function of torch that does not take what the operation does
                replayed = []
            for tensor, value in zip(given, before, strict=False):
                tensor.copy_(value)
            torch.set_rng_state(before[-1])
            result = function(batch)
            if not _have_same_bits(replayed, [result, *state()]):
                self.reason = "a replayed step differs from an ordinary one, which decides by more than tensors"
                if calls > 1:
                    raise UserError(f"after {calls} replayed steps {self.reason}: take replay=false")
            return result

        return call


class Writer(Watch):
    """Does the operations inside it, and writes them to a graph of torch.fx, as functions of tensors from before."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.nodes: dict[Place, fx.Node] = {_place(example): self.graph.placeholder("batch")}
        self.given: list[Any] = []  # tensors from before, and what cannot be written down
        self.storages: dict[int, StorageWeakRef] = {}  # made inside; a weak reference keeps its number from reuse
        self._own(example)
        self.is_mixed = torch.is_autocast_enabled("cpu")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation, and write it down if it makes or changes a tensor."""
        kwargs = kwargs or {}
        before = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = map_aggregate(args, self._node), map_aggregate(kwargs, self._node)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
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

    def replay(self, result: Tensor) -> Function:
        """A function of a batch that does what was written down, and returns what has become of the result."""
        self.graph.output(self._node(result))
        self.graph.eliminate_dead_code()
        for node in self.graph.nodes:
            node.target = _quick(node)
        run, given = fx.GraphModule({}, self.graph).forward, self.given
        context = _without_autocast if self.is_mixed else torch.inference_mode

        def replay(batch: Tensor) -> Tensor:
            with context():
                replayed: Tensor = run(batch, *given)
            return replayed

        return replay

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
        return self.nodes[place]

    def _placeholder(self, value: Any) -> fx.Node:
        self.given.append(value)
        return self.graph.placeholder(f"given_{len(self.given)}")


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
    return _storage(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _have_same_bits(some: list[Tensor], others: list[Tensor]) -> bool:
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(torch.equal(_bytes(a), _bytes(b)) for a, b in pairs)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


@contextlib.contextmanager
def _without_autocast() -> Iterator[None]:
    """The conversions of mixed precision are among the operations."""
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        yield
