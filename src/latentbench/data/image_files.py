"""The files of a folder or of an archive, which is read without unpacking it."""

import os
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from latentbench.errors import UserError
from latentbench.records.outside import files_below

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TAR_BLOCK = 512  # bytes; a whole archive ends with one of zeros
# What a damaged archive raises while it is read.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


class ImageFiles(ABC):
    """Files with their names, which have `/` between folders.

    Hidden files are left out, and so is what macOS adds to archives.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """The names of all files, sorted. Raises: UserError if the archive is damaged or names files outside."""
        try:
            names = sorted(self._names())
        except DAMAGED as error:
            raise self.damaged(error) from error
        for name in names:
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise UserError(f"data.root={self.root}: it has a file outside of itself, {name}: do not trust it")
        return [name for name in names if not any(p[0] == "." or p == "__MACOSX" for p in PurePosixPath(name).parts)]

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes | Exception]]:
        """The content of each of these files, or what reading it raised, in any order."""
        try:
            yield from self._read(set(names))
        except DAMAGED as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> UserError:
        """What to say of an archive that cannot be read."""
        return UserError(f"data.root={self.root} is truncated, damaged or encrypted ({error}): fetch it again")

    @abstractmethod
    def _names(self) -> Iterator[str]: ...

    @abstractmethod
    def _read(self, names: set[str]) -> Iterator[tuple[str, bytes | Exception]]: ...


class FolderFiles(ImageFiles):
    """Files below a folder; links are followed."""

    def _names(self) -> Iterator[str]:
        return (path.relative_to(self.root).as_posix() for path in files_below(self.root))

    def _read(self, names: set[str]) -> Iterator[tuple[str, bytes | Exception]]:
        for name in sorted(names):
            try:
                yield name, (self.root / name).read_bytes()
            except OSError as error:
                yield name, error


class ZipFiles(ImageFiles):
    """Files in a .zip."""

    def _names(self) -> Iterator[str]:
        with zipfile.ZipFile(self.root) as archive:
            yield from {info.filename for info in archive.infolist() if not info.is_dir()}

    def _read(self, names: set[str]) -> Iterator[tuple[str, bytes | Exception]]:
        with zipfile.ZipFile(self.root) as archive:
            for name in sorted(names):
                try:
                    yield name, archive.read(name)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # this file's checksum, for example
                    yield name, error


class TarFiles(ImageFiles):
    """Files in a .tar, compressed or not; links in it are left out."""

    def _names(self) -> Iterator[str]:
        with tarfile.open(self.root) as archive:
            yield from {member.name.removeprefix("./") for member in archive if member.isfile()}
            assert archive.fileobj is not None
            archive.fileobj.seek(archive.offset)
            if len(archive.fileobj.read(TAR_BLOCK)) < TAR_BLOCK:
                raise EOFError("its end is missing")

    def _read(self, names: set[str]) -> Iterator[tuple[str, bytes | Exception]]:
        with tarfile.open(self.root) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and name in names:
                    file = archive.extractfile(member)
                    assert file is not None
                    names.remove(name)  # a name may be there twice
                    yield name, file.read()


def image_files(root: Path) -> ImageFiles:
    """The files of a folder, a .zip or a .tar. Raises: UserError if it is something else."""
    if root.is_dir():
        return FolderFiles(root)
    name = os.fspath(root).lower()
    if name.endswith(".zip"):
        return ZipFiles(root)
    if name.endswith(TAR_SUFFIXES):
        return TarFiles(root)
    raise UserError(f"data.root={root}: give a folder, a .zip or a {', '.join(TAR_SUFFIXES)}")
