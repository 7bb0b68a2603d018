"""A cache for results computed from real images: in memory, and on disk if they take long to compute."""

import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latentbench.records.outside import source_digest
from latentbench.records.provenance import code_digest
from latentbench.records.record import write_atomically
from latentbench.records.user_cache import user_cache

MIN_SECONDS = 1.0  # results that take longer than this to compute are also written to disk
MAX_IN_MEMORY = 16  # results

_memory: OrderedDict[str, tuple[Tensor, ...]] = OrderedDict()


def cached(name: str, inputs: Iterable[Tensor], compute: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Return compute(), or its cached result.

    name: identifies the computation. Different computations on the same inputs need different names.
    The key is the SHA-256 of the name, of the bytes, shapes and dtypes of the inputs, and of latentbench's code, the
    versions of its libraries, and the source of `compute` if it comes from outside the package. It includes the type of
    the device, since results of different devices differ in their last digits, and a number must not depend on which
    run came first. An unreadable or wrong file is computed again. A failure to write is ignored. Without a
    folder for files, results are in memory alone.
    """
    inputs = list(inputs)
    key = _digest(name + source_digest(compute.__module__), inputs)
    if key not in _memory:
        path = files / f"{key}.safetensors" if (files := folder()) else None
        result = _read(path, key) if path else None
        if result is None:
            started = time.monotonic()
            result = tuple(compute())
            if path and time.monotonic() - started > MIN_SECONDS:
                _write(path, key, result)
        _memory[key] = result
        while len(_memory) > MAX_IN_MEMORY:
            _memory.popitem(last=False)
    _memory.move_to_end(key)
    device = inputs[0].device
    return tuple(tensor.to(device) for tensor in _memory[key])


def folder() -> Path | None:
    """The folder of the files on disk, if there can be one."""
    cache = user_cache()
    return cache / "features" if cache else None


def _digest(name: str, inputs: Sequence[Tensor]) -> str:
    header = [name, code_digest(), inputs[0].device.type]
    digest = hashlib.sha256(repr([*header, *((tuple(t.shape), str(t.dtype)) for t in inputs)]).encode())
    for tensor in inputs:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> tuple[Tensor, ...] | None:
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("key") == key:
            return tuple(file.get_tensor(str(i)) for i in range(len(file.keys())))
    return None


def _write(path: Path, key: str, tensors: Sequence[Tensor]) -> None:
    named = {str(i): tensor.detach().cpu().contiguous() for i, tensor in enumerate(tensors)}
    with contextlib.suppress(OSError):  # disk full or not writable: computed again next time
        write_atomically(path, save(named, metadata={"key": key}))
