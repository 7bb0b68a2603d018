"""Finds what a training step does that a replay of its operations would not repeat."""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import latentbench

# Operations whose result the processor waits for, or that copy numbers of the processor to the device.
WAITING = {
    "aten::_linalg_check_errors",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::equal",
    "aten::lift_fresh",
    "aten::masked_select",
    "aten::multinomial",
    "aten::nonzero",
    "aten::normal",  # checks the scales; `normal_` and `randn` do not
}


class Watch(TorchDispatchMode):
    """Finds the first operation inside it that a replay cannot contain: `reason` says where it is, or is None."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation."""
        result = func(*args, **(kwargs or {}))
        if self.reason is None and _is_waited_for(func._schema.name, args, result):
            self.reason = f"{_caller()} waits for values of the device, or copies some to it ({func._schema.name})"
        return result


def _is_waited_for(name: str, args: tuple[Any, ...], result: Any) -> bool:
    if name in WAITING:
        return True
    if name.startswith("aten::index") and len(args) > 1 and isinstance(args[1], Sequence):
        return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])
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
    """Name -> number, or address of the tensor, of all that the modules of a model hold."""
    state: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        for name, value in {**vars(module), **module._buffers, **module._parameters}.items():
            if isinstance(value, Tensor):
                state[f"{prefix}.{name}"] = value.data_ptr()
            elif isinstance(value, bool | int | float | str | None):
                state[f"{prefix}.{name}"] = value
    return state
