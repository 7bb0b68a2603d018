"""Finds what a training step does that a replay of its operations would not repeat."""

import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import latentbench

# Operations whose result the processor waits for, or that copy numbers of the processor to the device. Torch marks
# others.
WAITING = {
    "aten::_linalg_check_errors",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::lift_fresh",
    "aten::multinomial",
    "aten::normal",  # checks the scales; `normal_` and `randn` do not
}
MARKS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
READING = {Tensor.__array__, Tensor.numpy, Tensor.tolist}  # without an operation


class Watch(TorchDispatchMode):
    """Finds the first operation inside it that a replay cannot contain: `reason` says where it is, or is None."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason: str | None = None
        self._reads = _Reads(self)

    def __enter__(self) -> Self:
        self._reads.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._reads.__exit__(*error)  # type: ignore[no-untyped-call]

    def tell(self, name: str) -> None:
        """Remember that something waited."""
        self.reason = self.reason or f"{_caller()} waits for values of the device, or copies some to it ({name})"

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation."""
        result = func(*args, **(kwargs or {}))
        if self.reason is None and _is_waited_for(func, args, result):
            self.tell(func._schema.name)
        return result


class _Reads(TorchFunctionMode):
    """Tells a watch of methods that read a tensor's values without an operation."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do what the function does."""
        if func in READING:
            self.watch.tell(f"Tensor.{func.__name__}")
        return func(*args, **(kwargs or {}))


def _is_waited_for(operation: Any, args: tuple[Any, ...], result: Any) -> bool:
    name = operation._schema.name
    if name in WAITING:
        return True
    if name.startswith("aten::index"):  # marked for masks alone
        indices = args[1] if len(args) > 1 and isinstance(args[1], Sequence) else []
        return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices)
    if MARKS.intersection(operation.tags):
        return True
    if name in ("aten::_to_copy", "aten::copy_"):
        source = args[1] if name == "aten::copy_" else args[0]
        return bool(source.device.type != result.device.type)
    return False


def _caller() -> str:
    """The innermost code outside of torch and of this package's replays, such as `priors/flow.py (sample)`."""
    torch_root, own = str(Path(torch.__file__).parent), Path(latentbench.__file__).parent
    outside = (torch_root, __file__, str(Path(__file__).with_name("tape.py")))
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(outside)]
    path = Path(frames[-1].filename)
    name = path.relative_to(own) if path.is_relative_to(own) else path.name
    return f"{name} ({frames[-1].name})"


def state_of(model: torch.nn.Module) -> dict[str, Any]:
    """Name -> number, or address of the tensor, of all that the modules of a model hold, in lists and dicts, too."""
    return {
        f"{prefix}.{name}": _state(value)
        for prefix, module in model.named_modules()
        for name, value in {**vars(module), **module._buffers, **module._parameters}.items()
    }


def _state(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data_ptr() if value.layout == torch.strided else id(value)
    if isinstance(value, dict):
        return {key: _state(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | deque):
        return [_state(each) for each in value]
    return value if isinstance(value, bool | int | float | str | None) else None
