"""Data sets in the official files of their authors: found on this machine or downloaded, and always checked."""

import functools
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from latentbench.data.base import ImageData, Splits
from latentbench.data.download import download
from latentbench.data.splitting import with_validation
from latentbench.errors import UserError, check_whole_number
from latentbench.records.user_cache import user_cache

DEBIAN = Path("/usr/share/datasets")


class PublishedImages(ImageData, ABC):
    """A data set in official files, which are `<root>/<folder>/<name>`.

    If `root` is null, they are looked for in $LATENTBENCH_DATA, in Debian's folder of data sets and in the cache. If
    they are not found, they are downloaded to `root` or to the cache. The checksum of every file is checked.

    mirrors: addresses that the files are downloaded from, each to be followed by a file's name; empty if the user has
        to fetch the files
    checksums: of each file, `sha256:<digits>` or `md5:<digits>`
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        root: str | None,
        mirrors: Sequence[str] | str,
        checksums: Mapping[str, str],
        binarize: str,
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name=name, binarize=binarize, flip=flip, batch_size=batch_size, seed=seed)
        self.folder = folder
        self.root = root
        self.mirrors = (mirrors,) if isinstance(mirrors, str) else tuple(mirrors)
        self.checksums = dict(checksums)

    def load(self) -> Splits:
        """Read the splits. Raises: UserError if a file is truncated or altered, or missing and cannot be downloaded."""
        folder = self._find() or self._download()
        return self.read({name: folder / name for name in self.checksums})

    @abstractmethod
    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Read the splits from the files, given by their names, of which none is checked yet."""

    def check(self, path: Path, name: str) -> None:
        """Raises: UserError if a file is not the published one of this name."""
        check_file(path, self.checksums[name])

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
        return next((f for f in folders if all((f / name).is_file() for name in self.checksums)), None)

    def _download(self) -> Path:
        root = Path(os.path.expanduser(self.root)) if self.root else user_cache()
        if root is None:
            raise UserError(
                f"data={self.name}: there is no home folder for a download: set data.root=<folder> or "
                "LATENTBENCH_DATA=<folder>"
            )
        target = root / self.folder
        for name in self.checksums:
            if not (target / name).is_file():
                self._download_file(name, target)
        return target

    def _download_file(self, name: str, target: Path) -> None:
        try:
            problems = download(self.mirrors, target / name, functools.partial(self.check, name=name))
        except OSError as error:
            raise UserError(f"{target} cannot be written ({error.strerror}): choose another data.root") from error
        if problems is not None:
            searched = ", ".join(str(root / self.folder) for root in self._roots)
            failed = f", and the download failed ({'; '.join(problems)})" if problems else ""
            raise UserError(
                f"data={self.name}: no {name} in {searched}{failed}. Put {', '.join(self.checksums)} into "
                f"<root>/{self.folder} and set data.root=<root> or LATENTBENCH_DATA=<root>"
            )


class PublishedTrainAndTest(PublishedImages, ABC):
    """A data set with official training and test images. The validation images are taken from the former.

    validation: how many of them, at random, stratified by class, and the same in every run
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        root: str | None,
        mirrors: Sequence[str] | str,
        checksums: Mapping[str, str],
        validation: int,
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
            checksums=checksums,
            binarize=binarize,
            flip=flip,
            batch_size=batch_size,
            seed=seed,
        )
        self.validation = check_whole_number("data.validation", validation, minimum=1)

    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Read the splits. Raises: UserError if a file is not the published one."""
        return with_validation(*self.official(paths), n=self.validation)

    @abstractmethod
    def official(self, paths: Mapping[str, Path]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The training and the test images, uint8 (N, C, H, W), each with their labels, int64 (N,)."""


def check_file(path: Path, checksum: str) -> None:
    """Compare a file with its published checksum, `sha256:<digits>` or `md5:<digits>`.

    Raises: UserError if they differ, or the file cannot be read.
    """
    algorithm, _, digest = checksum.partition(":")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if found != digest:
        kind = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
        raise UserError(f"{path} is not the published file (its {kind} differs): delete it or fetch it again")
