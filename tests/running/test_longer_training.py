"""A longer training goes on from the last state of a shorter one, and has the bits of one from the beginning."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentbench.data.base import Batches
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, load
from latentbench.running.job import CHECKPOINT
from tiny_runs import digits_are_few, run_tiny

METHODS = {
    "vae": ("trainer.keep=best", "schedule=plateau", "schedule.patience=1"),
    "aae": ("trainer.ema=0.9", "optimizer=adamw", "trainer.accumulate=3"),
    "wgan_gp": (),
}


@pytest.fixture(autouse=True)
def few_images() -> Iterator[None]:
    with digits_are_few():
        yield


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the epochs that were trained."""
    found: list[int] = []
    cut = Batches.__iter__

    def counted(self: Batches) -> Iterator[object]:
        if self.shuffle:
            found.append(self.epoch)
        return cut(self)

    monkeypatch.setattr(Batches, "__iter__", counted)
    return found


def run_for(n: int, root: Path, *overrides: str) -> Path:
    return run_tiny(root, *overrides, f"trainer.max_epochs={n}", "metric=[sharpness]", "sampler=[prior]")


def weights(folder: Path) -> bytes:
    return (folder / WEIGHTS_NAME).read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_it_has_the_bits_of_one_from_the_beginning_and_says_where_it_began(
    method: str, tmp_path: Path, epochs: list[int]
) -> None:
    settings = (f"method={method}", *METHODS[method])
    shorter = run_for(2, tmp_path / "one", *settings)
    longer = run_for(3, tmp_path / "one", *settings)
    longest = run_for(5, tmp_path / "one", *settings)
    assert epochs == [0, 1, 2, 3, 4], "no epoch twice"
    whole = run_for(5, tmp_path / "whole", *settings)
    assert weights(longest) == weights(whole)
    assert longest.name == whole.name
    facts = {folder: load(folder / FILE_NAME).config["resolved"] for folder in (shorter, longer, longest, whole)}
    assert facts[longer]["began"] == {"run": shorter.name, "epochs": 2}
    assert facts[longest]["began"] == {"run": longer.name, "epochs": 3}
    assert "began" not in facts[shorter]
    for key, value in facts[whole].items():
        assert facts[longest][key] == value or key == "step_seconds"


@pytest.mark.parametrize("settings", [("method=vae", "annealing=warmup"), ("method=vae", "schedule=warmup_cosine")])
def test_one_whose_steps_depend_on_its_length_starts_from_the_beginning(
    settings: tuple[str, ...], tmp_path: Path, epochs: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run_for(1, tmp_path, *settings)
    run_for(2, tmp_path, *settings)
    assert epochs == [0, 0, 1]
    assert "follows the training's length" in caplog.text


OTHERS = ("seed=1", "data.batch_size=7", "force=true", "study=another", "trainer.max_epochs=1")


@pytest.mark.parametrize("other", OTHERS)
def test_it_starts_from_the_beginning_if_more_than_its_length_differs(
    other: str, tmp_path: Path, epochs: list[int]
) -> None:
    run_for(2, tmp_path, "method=vae")
    run_tiny(tmp_path, "method=vae", "metric=[sharpness]", "sampler=[prior]", "trainer.max_epochs=3", other)
    assert epochs[2] == 0


def test_without_a_state_it_starts_from_the_beginning(tmp_path: Path, epochs: list[int]) -> None:
    shorter = run_for(1, tmp_path, "method=vae", "keep_state=false")
    assert not (shorter / CHECKPOINT).exists()
    longer = run_for(2, tmp_path, "method=vae")
    assert epochs == [0, 0, 1]
    (longer / CHECKPOINT).write_bytes(b"damaged")
    run_for(3, tmp_path, "method=vae")
    assert epochs[3] == 0
