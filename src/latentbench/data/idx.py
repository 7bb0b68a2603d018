"""MNIST and Fashion-MNIST: four gzipped IDX files each."""

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
from latentbench.records.record import write_whole

DEBIAN = Path("/usr/share/datasets")
N_VALIDATION = 10_000  # of the official training images


class IdxImages(ImageData):
    """50,000 training, 10,000 validation and 10,000 test images, 28x28, 256 grey levels.

    Validation images are drawn from the official training images at random, stratified by class, the same for every
    run. (MNIST's last 10,000, often taken, are not alike the rest, and would not show what a model of the training
    images can reach.) The test images are the official ones.

    The files are `<root>/<folder>/<name>.gz`; root is `root` if given, else $LATENTBENCH_DATA, Debian's folder of
    data sets or the cache folder; where none of these holds them they are downloaded, into `root` or the cache.
    They are checked by the SHA-256 of the decompressed bytes.
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
        """The splits. Raises: UserError if a file is missing and cannot be downloaded, truncated or altered."""
        found = self._find() or self._download()
        arrays = {name: read_idx(found / f"{name}.gz", digest) for name, digest in self.sha256.items()}
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
            return [Path(self.root).expanduser()]
        variable = os.environ.get("LATENTBENCH_DATA")
        return [
            *([Path(variable).expanduser()] if variable else []),
            DEBIAN,
            Path(pooch.os_cache("latentbench")),
        ]

    def _find(self) -> Path | None:
        folders = [root / self.folder for root in self._roots]
        return next((f for f in folders if all((f / f"{name}.gz").is_file() for name in self.sha256)), None)

    def _download(self) -> Path:
        target = self._roots[-1] / self.folder
        for name, digest in self.sha256.items():
            if not (target / f"{name}.gz").is_file():
                self._download_file(f"{name}.gz", digest, target)
        return target

    def _download_file(self, name: str, digest: str, target: Path) -> None:
        pooch.get_logger().setLevel(logging.ERROR)  # it advises to write the checksum into the code
        problems = []
        for mirror in self.mirrors:
            # A file reaches its place only after its check: a half or an altered one never gets there.
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
                write_whole(target / name, content)
            except OSError as error:
                raise UserError(f"{target} cannot be written ({error.strerror}): choose another data.root") from error
            return
        looked = ", ".join(str(root / self.folder) for root in self._roots)
        raise UserError(
            f"data={self.name}: no {name} in {looked}, and no mirror gave it ({'; '.join(problems)}). "
            f"Put the four .gz files into <root>/{self.folder} and set data.root=<root> or LATENTBENCH_DATA=<root>"
        )


@functools.lru_cache(maxsize=8)  # a sweep's runs in one process read their data once
def read_idx(path: Path, sha256: str) -> Tensor:
    """Content of a gzipped IDX file as a uint8 tensor.

    Raises: UserError if it cannot be decompressed or its content's SHA-256 is another.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or no gzip file ({error}): delete it or fetch it again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the published file (its SHA-256 differs): delete it or fetch it again")
    n_axes = content[3]
    sizes = np.frombuffer(content, ">i4", count=n_axes, offset=4).tolist()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(sizes).copy())
