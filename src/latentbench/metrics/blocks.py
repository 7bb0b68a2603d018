"""How much of a large array is in memory at once."""

from torch import Tensor

ON_A_GPU = 16


def block_size(in_cache: int, like: Tensor) -> int:
    """Rows or elements that are computed at once, on the device of a tensor.

    in_cache: as many as fit into a processor's cache. A GPU takes more, since starting its kernels takes time.
    """
    return in_cache * ON_A_GPU if like.is_cuda else in_cache
