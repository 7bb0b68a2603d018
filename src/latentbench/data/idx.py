"""MNIST, Fashion-MNIST and Kuzushiji-MNIST, each in four gzipped IDX files."""

import functools
import gzip
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentbench.data.base import Splits
from latentbench.data.published import PublishedImages
from latentbench.data.splitting import with_validation
from latentbench.errors import UserError

N_VALIDATION = 10_000  # taken from the official training images


class IdxImages(PublishedImages):
    """50,000 training, 10,000 validation and 10,000 test images of 28x28 pixels with 256 grey levels.

    The validation images are a random part of the official training images, stratified by class, and the same in every
    run. The last 10,000 images of MNIST, a common choice, differ from the rest and would not show how well a model fits
    the distribution of the training images. The test images are the official ones.

    sha256: of the decompressed content of each file `<name>.gz`; of the file itself, if the name given here ends in .gz
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        root: str | None,
        mirrors: Sequence[str] | str,
        sha256: Mapping[str, str],
        binarize: str,
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(
            name=name,
            folder=folder,
            root=root,
            mirrors=mirrors,
            checksums={f"{file.removesuffix('.gz')}.gz": digest for file, digest in sha256.items()},
            binarize=binarize,
            flip=flip,
            batch_size=batch_size,
            seed=seed,
        )
        self.of_files = {file for file in sha256 if file.endswith(".gz")}

    def check(self, path: Path, name: str) -> None:
        """Raises: UserError if a file is not the published one of this name."""
        read_idx.__wrapped__(path, self.checksums[name], of_file=name in self.of_files)  # a file may be replaced

    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Read the splits. Raises: UserError if a file is not the published one."""
        arrays = {
            name.partition("-ubyte")[0]: read_idx(path, self.checksums[name], of_file=name in self.of_files)
            for name, path in paths.items()
        }
        return with_validation(
            (arrays["train-images-idx3"][:, None], arrays["train-labels-idx1"].long()),
            (arrays["t10k-images-idx3"][:, None], arrays["t10k-labels-idx1"].long()),
            n=N_VALIDATION,
        )


@functools.lru_cache(maxsize=8)  # the runs of a sweep in one process read their data once
def read_idx(path: Path, sha256: str, *, of_file: bool) -> Tensor:
    """Read a gzipped IDX file as a uint8 tensor.

    sha256: of the decompressed content, or of the file
    Raises: UserError if it cannot be decompressed, or the SHA-256 is wrong.
    """
    packed = path.read_bytes()
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or not a gzip file ({error}): delete it or fetch it again") from error
    if hashlib.sha256(packed if of_file else content).hexdigest() != sha256:
        raise UserError(f"{path} is not the published file (its SHA-256 differs): delete it or fetch it again")
    return parse_idx(content)


def parse_idx(content: bytes) -> Tensor:
    """Unsigned bytes in IDX format: 0, 0, 8, the number of axes, their big-endian sizes, the data."""
    n_axes = content[3]
    sizes = np.frombuffer(content, ">i4", count=n_axes, offset=4).tolist()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(sizes).copy())
