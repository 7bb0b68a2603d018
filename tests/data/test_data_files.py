"""IDX files: where they are looked for, what is done where they are not, and what is never trusted."""

import errno
import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest

from latentbench.data import download, idx, published
from latentbench.data.idx import IdxImages
from latentbench.errors import UserError

FOLDER = "tiny"
N_TRAIN, N_VALIDATION, N_TEST = 4, 2, 3  # two classes, so that the split can be stratified
DEAD = "http://127.0.0.1:9/"

_rng = np.random.default_rng(0)
IMAGES = _rng.integers(0, 256, (N_TRAIN + N_VALIDATION + N_TEST, 5, 7), dtype=np.uint8)
LABELS = np.resize(np.array([3, 7], dtype=np.uint8), len(IMAGES))
OFFICIAL_TRAIN = slice(0, N_TRAIN + N_VALIDATION)
OFFICIAL_TEST = slice(N_TRAIN + N_VALIDATION, None)


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as an IDX file: 0, 0, 8 for unsigned bytes, the number of axes, their big-endian sizes, the data."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


CONTENT = {
    "train-images-idx3-ubyte": idx_bytes(IMAGES[OFFICIAL_TRAIN]),
    "train-labels-idx1-ubyte": idx_bytes(LABELS[OFFICIAL_TRAIN]),
    "t10k-images-idx3-ubyte": idx_bytes(IMAGES[OFFICIAL_TEST]),
    "t10k-labels-idx1-ubyte": idx_bytes(LABELS[OFFICIAL_TEST]),
}
FILES = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENT.items()}
NAMES = list(FILES)


def put(root: Path, **changed: bytes | None) -> Path:
    """Write the files below a root; `first` or `last` replaces that file's bytes, None leaves it out."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    given = FILES | {NAMES[{"first": 0, "last": -1}[which]]: content for which, content in changed.items()}
    for name, content in given.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return root


def altered(name: str = NAMES[0]) -> bytes:
    """A file of valid form and other pixels."""
    content = bytearray(CONTENT[name.removesuffix(".gz")])
    content[-1] ^= 1
    return gzip.compress(bytes(content))


SPOILT = {
    "truncated": FILES[NAMES[0]][:-20],
    "altered": altered(),
    "of another length": gzip.compress(CONTENT["train-images-idx3-ubyte"] + b"more"),
    "no gzip file": b"<html>Please log in</html>",
    "empty": b"",
    "damaged inside": FILES[NAMES[0]][:30] + b"\xff\xff\xff\xff" + FILES[NAMES[0]][34:],
}


OF_CONTENT = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def tiny(root: Path | None = None, mirrors: list[str] | None = None, sha256: dict[str, str] = OF_CONTENT) -> IdxImages:
    """The data set of the files above."""
    return IdxImages(
        name="tiny",
        folder=FOLDER,
        root=None if root is None else str(root),
        mirrors=[DEAD] if mirrors is None else mirrors,
        sha256=sha256,
        binarize="none",
        flip=False,
        batch_size=2,
        seed=0,
    )


def assert_right(data: IdxImages) -> None:
    """Test images are the official ones; the others are once in train or validation; each has its own label."""
    images, labels = data.splits.images, data.splits.labels
    order = sorted(range(len(IMAGES))[OFFICIAL_TEST], key=lambda i: hashlib.sha256(IMAGES[i].tobytes()).digest())
    np.testing.assert_array_equal(images["test"].numpy(), IMAGES[order][:, None])
    np.testing.assert_array_equal(labels["test"].numpy(), LABELS[order])
    assert sorted(labels["validation"].tolist()) == [3, 7]
    assert len(images["train"]) == len(labels["train"]) == N_TRAIN
    found = [
        (image.numpy().tobytes(), int(label))
        for split in ("train", "validation")
        for image, label in zip(images[split], labels[split], strict=True)
    ]
    there = zip(IMAGES[OFFICIAL_TRAIN], LABELS[OFFICIAL_TRAIN], strict=True)
    assert sorted(found) == sorted((image.tobytes(), int(label)) for image, label in there)


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Roots of this test alone: none of them is there yet."""
    roots = {kind: tmp_path / kind for kind in ("given", "variable", "debian", "cache")}
    monkeypatch.setattr(idx, "N_VALIDATION", N_VALIDATION)
    monkeypatch.setattr(published, "DEBIAN", roots["debian"])
    monkeypatch.setattr(pooch, "os_cache", lambda name: roots["cache"])
    monkeypatch.setenv("LATENTBENCH_DATA", str(roots["variable"]))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    idx.read_idx.cache_clear()
    return roots


class Mirror(ThreadingHTTPServer):
    """Gives files on the loopback and counts what it is asked for."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], *, cut: bool = False, ranges: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.cut = cut  # half of what is asked for, and the connection is lost
        self.ranges = ranges  # it can be asked for the rest of a file
        self.asked: list[str] = []
        self.sent = 0
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name = self.path.removeprefix("/files/")
        self.server.asked.append(name)
        content = self.server.files.get(name)
        whole, start = content or b"", 0
        if self.server.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        status = 206 if start else 200
        self.send_response(404 if content is None else 416 if start >= len(whole) > 0 else status)
        self.send_header("Content-Length", str(len(whole[start:])))
        self.end_headers()
        sent = whole[start:]
        self.server.sent += self.wfile.write(sent[: (len(sent) + 1) // 2] if self.server.cut else sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Any]:
    """Makes mirrors that are closed in the end."""
    made: list[Mirror] = []

    def make(files: dict[str, bytes], *, cut: bool = False, ranges: bool = False) -> Mirror:
        made.append(Mirror(files, cut=cut, ranges=ranges))
        return made[-1]

    yield make
    for server in made:
        server.shutdown()
        server.server_close()


# Where they are found


@pytest.mark.parametrize("kind", ["given", "variable", "debian", "cache"])
def test_files_are_found_in_each_root(kind: str, nothing_installed: dict[str, Path]) -> None:
    root = put(nothing_installed[kind])
    assert_right(tiny(root if kind == "given" else None))


@pytest.mark.parametrize(
    ("first", "second"), [("given", "variable"), ("variable", "debian"), ("debian", "cache"), ("variable", "cache")]
)
def test_the_roots_have_an_order(first: str, second: str, nothing_installed: dict[str, Path]) -> None:
    put(nothing_installed[first])
    put(nothing_installed[second], first=altered())
    assert_right(tiny(nothing_installed["given"] if first == "given" else None))


def test_a_spoilt_file_in_an_earlier_root_is_said_and_not_passed_over(nothing_installed: dict[str, Path]) -> None:
    put(nothing_installed["variable"], first=altered())
    put(nothing_installed["debian"])
    with pytest.raises(UserError, match=str(nothing_installed["variable"])):
        tiny().setup()


def test_a_root_that_lacks_a_file_is_passed_over(nothing_installed: dict[str, Path]) -> None:
    put(nothing_installed["variable"], last=None)
    put(nothing_installed["debian"])
    assert_right(tiny())


def test_a_given_root_is_the_only_one(nothing_installed: dict[str, Path]) -> None:
    for kind in ("variable", "debian", "cache"):
        put(nothing_installed[kind])
    with pytest.raises(UserError, match=str(nothing_installed["given"])) as caught:
        tiny(nothing_installed["given"]).setup()
    assert str(nothing_installed["debian"]) not in str(caught.value)


def test_without_the_variable_the_other_roots_are_looked_at(
    nothing_installed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LATENTBENCH_DATA")
    put(nothing_installed["cache"])
    assert_right(tiny())


@pytest.mark.parametrize("how", ["given", "variable"])
def test_a_root_may_be_below_the_home_folder(
    how: str, nothing_installed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(nothing_installed["given"])
    monkeypatch.setenv("HOME", str(nothing_installed["given"].parent))
    monkeypatch.setenv("LATENTBENCH_DATA", "~/given")
    assert_right(tiny(Path("~/given") if how == "given" else None))


def test_without_a_home_folder_data_are_read_and_not_downloaded(
    nothing_installed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(name: str) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(pooch, "os_cache", no_home)
    with pytest.raises(UserError, match=r"data=tiny: .* no home folder .* set data.root=<folder>"):
        tiny().setup()
    put(nothing_installed["variable"])
    assert_right(tiny())


def test_nothing_is_downloaded_where_the_files_are(nothing_installed: dict[str, Path], mirror: Any) -> None:
    put(nothing_installed["debian"])
    server = mirror(FILES)
    assert_right(tiny(mirrors=[server.url]))
    assert server.asked == []
    assert not nothing_installed["cache"].exists()


# What is never trusted


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_is_named_with_what_to_do_and_stays(how: str, nothing_installed: dict[str, Path]) -> None:
    root = put(nothing_installed["given"], first=SPOILT[how])
    with pytest.raises(UserError) as caught:
        tiny(root).setup()
    message = str(caught.value)
    assert str(root / FOLDER / NAMES[0]) in message
    assert "fetch it again" in message
    assert "\n" not in message
    assert (root / FOLDER / NAMES[0]).read_bytes() == SPOILT[how]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_checked(name: str, nothing_installed: dict[str, Path]) -> None:
    root = put(nothing_installed["given"])
    (root / FOLDER / name).write_bytes(altered(name))
    with pytest.raises(UserError, match=name):
        tiny(root).setup()


def test_a_file_compressed_in_another_way_is_the_same_file(nothing_installed: dict[str, Path]) -> None:
    again = gzip.compress(CONTENT["train-images-idx3-ubyte"], compresslevel=1, mtime=12345)
    assert again != FILES[NAMES[0]]
    assert_right(tiny(put(nothing_installed["given"], first=again)))


# Downloads


def test_the_second_mirror_helps_where_the_first_is_dead(nothing_installed: dict[str, Path], mirror: Any) -> None:
    server = mirror(FILES)
    assert_right(tiny(mirrors=[DEAD, server.url]))
    folder = nothing_installed["cache"] / FOLDER
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert sorted(server.asked) == sorted(NAMES)


def test_what_was_downloaded_is_not_downloaded_again(nothing_installed: dict[str, Path], mirror: Any) -> None:
    server = mirror(FILES)
    tiny(mirrors=[server.url]).setup()
    idx.read_idx.cache_clear()
    assert_right(tiny(mirrors=[DEAD]))
    assert len(server.asked) == len(NAMES)


def test_a_download_goes_to_the_given_root(nothing_installed: dict[str, Path], mirror: Any) -> None:
    root = nothing_installed["given"]
    assert_right(tiny(root, mirrors=[mirror(FILES).url]))
    assert {path.name for path in (root / FOLDER).iterdir()} == set(NAMES)
    assert not nothing_installed["cache"].exists()


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_download_is_not_kept_and_the_mirror_is_named(
    how: str, nothing_installed: dict[str, Path], mirror: Any
) -> None:
    server = mirror(FILES | {NAMES[0]: SPOILT[how]})
    with pytest.raises(UserError) as caught:
        tiny(mirrors=[server.url]).setup()
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = list(nothing_installed["cache"].rglob("*.gz")) if nothing_installed["cache"].exists() else []
    assert NAMES[0] not in [path.name for path in kept]


@pytest.mark.parametrize("how", SPOILT)
def test_a_mirror_that_gives_a_spoilt_file_is_passed_over(how: str, mirror: Any) -> None:
    bad, good = mirror(FILES | {NAMES[0]: SPOILT[how]}), mirror(FILES)
    assert_right(tiny(mirrors=[bad.url, good.url]))


@pytest.mark.parametrize("bad", ["cut", "lacking"])
def test_a_mirror_that_stops_or_lacks_a_file_is_passed_over(bad: str, mirror: Any) -> None:
    first = mirror(FILES, cut=True) if bad == "cut" else mirror({})
    assert_right(tiny(mirrors=[first.url, mirror(FILES).url]))
    assert len(first.asked) >= len(NAMES)


def test_a_download_that_was_stopped_goes_on_where_it_was(nothing_installed: dict[str, Path], mirror: Any) -> None:
    with pytest.raises(UserError, match=NAMES[-1]):
        tiny(mirrors=[mirror({name: FILES[name] for name in NAMES[:-1]}).url]).setup()
    whole = mirror(FILES)
    assert_right(tiny(mirrors=[whole.url]))
    assert whole.asked == [NAMES[-1]]


def test_no_data_and_no_network_is_one_line_that_says_where_and_what_to_do(nothing_installed: dict[str, Path]) -> None:
    with pytest.raises(UserError) as caught:
        tiny(mirrors=[DEAD, "http://127.0.0.1:9/other/"]).setup()
    message = str(caught.value)
    for kind in ("variable", "debian", "cache"):
        assert str(nothing_installed[kind] / FOLDER) in message
    for words in ("data=tiny", NAMES[0], DEAD, "http://127.0.0.1:9/other/", "data.root=", "LATENTBENCH_DATA="):
        assert words in message
    assert "\n" not in message
    assert not nothing_installed["cache"].exists()


def test_no_mirror_at_all_is_said(nothing_installed: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"data\.root="):
        tiny(mirrors=[]).setup()


def test_a_root_that_cannot_be_written_is_said(nothing_installed: dict[str, Path], mirror: Any) -> None:
    root = nothing_installed["given"]
    root.write_text("a file where a folder should be")
    with pytest.raises(UserError) as caught:
        tiny(root, mirrors=[mirror(FILES).url]).setup()
    assert str(root) in str(caught.value)


def test_a_lost_connection_is_taken_up_where_it_was_by_the_same_mirror(mirror: Any) -> None:
    server = mirror(FILES, cut=True, ranges=True)
    assert_right(tiny(mirrors=[server.url]))
    assert server.sent == sum(map(len, FILES.values())), "no byte is sent twice"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_partial_download_of_an_earlier_command_is_gone_on_with(
    ranges: bool, nothing_installed: dict[str, Path], mirror: Any
) -> None:
    with pytest.raises(UserError, match=NAMES[0]):
        tiny(mirrors=[mirror(FILES, cut=True).url]).setup()
    folder = nothing_installed["cache"] / FOLDER
    assert [path.name for path in folder.iterdir()] == [f".{NAMES[0]}.part"]
    server = mirror(FILES, ranges=ranges)
    assert_right(tiny(mirrors=[server.url]))
    kept = (len(FILES[NAMES[0]]) + 1) // 2 if ranges else 0
    assert server.sent == sum(map(len, FILES.values())) - kept
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


@pytest.mark.parametrize("part", [FILES[NAMES[0]], b"of another file", FILES[NAMES[0]] + b"too long"])
def test_whatever_lies_there_as_a_partial_download_the_file_comes_out_right(
    part: bytes, nothing_installed: dict[str, Path], mirror: Any
) -> None:
    folder = nothing_installed["cache"] / FOLDER
    folder.mkdir(parents=True)
    (folder / f".{NAMES[0]}.part").write_bytes(part)
    assert_right(tiny(mirrors=[mirror(FILES, ranges=True).url]))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_several_processes_may_download_at_a_time(nothing_installed: dict[str, Path], mirror: Any) -> None:
    server = mirror(FILES, ranges=True)
    with ThreadPoolExecutor(4) as pool:
        for data in pool.map(lambda _: tiny(mirrors=[server.url]), range(4)):
            assert_right(data)
    folder = nothing_installed["cache"] / FOLDER
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_a_full_disk_is_said_and_what_came_is_kept(mirror: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\): choose another data.root"):
        tiny(mirrors=[mirror(FILES).url]).setup()


@pytest.mark.parametrize("how", ["as published", "compressed in another way"])
def test_the_checksum_may_be_of_the_compressed_file(how: str, nothing_installed: dict[str, Path]) -> None:
    again = gzip.compress(CONTENT["train-images-idx3-ubyte"], compresslevel=1, mtime=12345)
    put(nothing_installed["variable"], **({} if how == "as published" else {"first": again}))
    data = tiny(sha256={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()})
    if how == "as published":
        assert_right(data)
    else:
        with pytest.raises(UserError, match=f"{NAMES[0]} is not the published file"):
            data.setup()
