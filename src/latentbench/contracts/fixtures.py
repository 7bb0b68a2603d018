"""Every test starts from the same random numbers, on one thread, far from the caches of the user."""

import pytest
import torch

from latentbench.data import image_cache
from latentbench.features import cache
from latentbench.records import outside

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    # torch.manual_seed notes the whole call stack for every kind of device that is not there.
    torch.manual_seed(0) if torch.cuda.is_available() else torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path_factory.getbasetemp()
    monkeypatch.setattr(cache, "folder", lambda: root / "features")
    monkeypatch.setattr(outside, "folder", lambda: root / "contents")
    monkeypatch.setattr(image_cache, "folder", lambda: root / "images")
