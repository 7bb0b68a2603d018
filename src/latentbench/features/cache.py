"""What is made of real images is made once: by this process, and on this machine where it takes long."""

import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pooch
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latentbench.records.provenance import code_digest
from latentbench.records.record import write_whole

WORTH_A_FILE = 1.0  # seconds of work
MOST = 16  # results that a process remembers

_remembered: OrderedDict[str, tuple[Tensor, ...]] = OrderedDict()


def kept(what: str, content: Iterable[Tensor], make: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """What `make` gives of the content, made anew only where it is not known.

    what: names the way of making it, for what is made of the same content in another way has another name.
    It is known by the SHA-256 of that name, of the content's bytes, shapes and kinds and of latentbench's own code.
    Devices and versions of torch do not share results: their last digits differ, and a number should not depend on who
    was there first. A file that cannot be read, or is not what its name says, is made anew; one that cannot be written
    is done without.
    """
    content = list(content)
    key = _digest(what, content)
    if key not in _remembered:
        path = folder() / f"{key}.safetensors"
        found = _read(path, key)
        if found is None:
            started = time.monotonic()
            found = tuple(make())
            if time.monotonic() - started > WORTH_A_FILE:
                _write(path, key, found)
        _remembered[key] = found
        while len(_remembered) > MOST:
            _remembered.popitem(last=False)
    _remembered.move_to_end(key)
    device = content[0].device
    return tuple(tensor.to(device) for tensor in _remembered[key])


def folder() -> Path:
    """Where the files are."""
    return Path(pooch.os_cache("latentbench")) / "features"


def _digest(what: str, content: Sequence[Tensor]) -> str:
    about = [what, code_digest(), content[0].device.type]
    digest = hashlib.sha256(repr([*about, *((tuple(t.shape), str(t.dtype)) for t in content)]).encode())
    for tensor in content:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> tuple[Tensor, ...] | None:
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("key") == key:
            return tuple(file.get_tensor(str(i)) for i in range(len(file.keys())))
    return None


def _write(path: Path, key: str, tensors: Sequence[Tensor]) -> None:
    named = {str(i): tensor.detach().cpu().contiguous() for i, tensor in enumerate(tensors)}
    with contextlib.suppress(OSError):  # no room, or no right to write there: it is made anew every time
        write_whole(path, save(named, metadata={"key": key}))
