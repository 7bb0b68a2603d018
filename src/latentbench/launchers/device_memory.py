"""How many runs fit into the memory of a GPU, by what the runs before took of it."""

import gc
from collections.abc import Sequence
from typing import NamedTuple

SHARE = 0.9  # of the available memory that runs together may take, as their needs vary
CONTEXT = 0.6 * 2**30  # bytes that a process takes of a GPU beside its tensors


class Memory(NamedTuple):
    """What a run took of its GPU at most, and what it could have taken, in bytes."""

    peak: float
    available: float


def runs_that_fit(measured: Sequence[Memory]) -> int:
    """How many runs at a time fit, if each takes as much as the largest so far; 1 if none has been measured."""
    if not measured:
        return 1
    peak, available = max(run.peak for run in measured), min(run.available for run in measured)
    return max(1, int(SHARE * available / peak))


def measured_memory(devices: Sequence[int], *, is_alone: bool) -> Memory | None:
    """Of the run of this process that has just ended, whose memory is set free; None if it did not use one GPU.

    is_alone: no other run uses the GPU, so that what is not free is taken by others than this user's runs
    """
    import torch

    if len(devices) > 1 or not torch.cuda.max_memory_reserved(devices[0]):
        return None
    peak = CONTEXT + torch.cuda.max_memory_reserved(devices[0])
    gc.collect()  # a trainer and its model refer to each other
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(devices[0])
    free, total = torch.cuda.mem_get_info(devices[0])
    return Memory(peak, free + CONTEXT if is_alone else total)
