"""Every test starts from the same random numbers, on one thread."""

import pytest
import torch

from latentbench.features import cache

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _nothing_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "features"
    monkeypatch.setattr(cache, "folder", lambda: folder)
