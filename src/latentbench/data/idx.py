"""MNIST and Fashion-MNIST, each in four gzipped IDX files."""

import functools
import gzip
import hashlib
import logging
import os
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pooch
import requests
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from latentbench.data.base import ImageData, Splits
from latentbench.errors import UserError
from latentbench.records.record import write_atomically
from latentbench.records.user_cache import user_cache

DEBIAN = Path("/usr/share/datasets")
N_VALIDATION = 10_000  # taken from the official training images


class IdxImages(ImageData):
    """50,000 training, 10,000 validation and 10,000 test images of 28x28 pixels with 256 grey levels.

    The validation images are a random part of the official training images, stratified by class, and the same in every
    run. The last 10,000 images of MNIST, a common choice, differ from the rest and would not show how well a model fits
    the distribution of the training images. The test images are the official ones.

    The files are `<root>/<folder>/<name>.gz`. If `root` is null, they are looked for in $LATENTBENCH_DATA, in Debian's
    folder of data sets and in the cache. If they are not found, they are downloaded to `root` or to the cache. The
    SHA-256 of the decompressed content is checked.
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
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name=name, binarize=binarize, batch_size=batch_size, seed=seed)
        self.folder = folder
        self.root = root
        self.mirrors = (mirrors,) if isinstance(mirrors, str) else tuple(mirrors)
        self.sha256 = dict(sha256)

    def load(self) -> Splits:
        """Read the splits. Raises: UserError if a file is truncated or altered, or missing and cannot be downloaded."""
        folder = self._find() or self._download()
        arrays = {name: read_idx(folder / f"{name}.gz", digest) for name, digest in self.sha256.items()}
        images, labels = arrays["train-images-idx3-ubyte"][:, None], arrays["train-labels-idx1-ubyte"].long()
        train, validation = train_test_split(
            np.arange(len(labels)), test_size=N_VALIDATION, stratify=labels, random_state=0
        )
        return Splits(
            images={
                "train": images[train],
                "validation": images[validation],
                "test": arrays["t10k-images-idx3-ubyte"][:, None],
            },
            labels={
                "train": labels[train],
                "validation": labels[validation],
                "test": arrays["t10k-labels-idx1-ubyte"].long(),
            },
        )

    @property
    def _roots(self) -> list[Path]:
        if self.root:
            return [Path(os.path.expanduser(self.root))]
        variable, cache = os.environ.get("LATENTBENCH_DATA"), user_cache()
        return [
            *([Path(os.path.expanduser(variable))] if variable else []),
            DEBIAN,
            *([cache] if cache else []),
        ]

    def _find(self) -> Path | None:
        folders = [root / self.folder for root in self._roots]
        return next((f for f in folders if all((f / f"{name}.gz").is_file() for name in self.sha256)), None)

    def _download(self) -> Path:
        root = Path(os.path.expanduser(self.root)) if self.root else user_cache()
        if root is None:
            raise UserError(f"data={self.name}: there is no home folder for a download: set data.root=<folder>")
        target = root / self.folder
        for name, digest in self.sha256.items():
            if not (target / f"{name}.gz").is_file():
                self._download_file(f"{name}.gz", digest, target)
        return target

    def _download_file(self, name: str, digest: str, target: Path) -> None:
        pooch.get_logger().setLevel(logging.ERROR)  # it would suggest adding the checksum to the code
        problems = []
        for mirror in self.mirrors:
            # A file is moved to its folder only after it was checked, so that the folder never holds an invalid one.
            with tempfile.TemporaryDirectory() as folder:
                try:
                    downloader = pooch.HTTPDownloader(timeout=20, progressbar=sys.stderr.isatty())
                    path = Path(pooch.retrieve(mirror + name, None, name, folder, downloader=downloader))
                    read_idx(path, digest)
                    content = path.read_bytes()
                except (requests.RequestException, OSError, ValueError, UserError) as error:
                    problems.append(f"{mirror}: {type(error).__name__}")
                    continue
            try:
                write_atomically(target / name, content)
            except OSError as error:
                raise UserError(f"{target} cannot be written ({error.strerror}): choose another data.root") from error
            return
        searched = ", ".join(str(root / self.folder) for root in self._roots)
        raise UserError(
            f"data={self.name}: no {name} in {searched}, and the download failed ({'; '.join(problems)}). "
            f"Put the four .gz files into <root>/{self.folder} and set data.root=<root> or LATENTBENCH_DATA=<root>"
        )


@functools.lru_cache(maxsize=8)  # the runs of a sweep in one process read their data once
def read_idx(path: Path, sha256: str) -> Tensor:
    """Read a gzipped IDX file as a uint8 tensor.

    Raises: UserError if it cannot be decompressed, or the SHA-256 of its content is wrong.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or not a gzip file ({error}): delete it or fetch it again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the published file (its SHA-256 differs): delete it or fetch it again")
    n_axes = content[3]
    sizes = np.frombuffer(content, ">i4", count=n_axes, offset=4).tolist()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(sizes).copy())
