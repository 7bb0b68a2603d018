"""The kernel distance against torchmetrics' KID and loops; its standard error against what it says of chance."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import inputs, part_of
from latentbench.features.pixels import PixelFeatures
from latentbench.metrics import kernel_distance as module
from latentbench.metrics.clip_discrepancy import gaussian
from latentbench.metrics.kernel_distance import KernelDistance, kernel_distance


def by_loops(x: Tensor, y: Tensor) -> float:
    """Means of (a.b / F + 1)^3 over all pairs of two different vectors."""

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b).item() / len(a) + 1) ** 3

    within = [np.mean([k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    return float(sum(within) - 2 * np.mean([k(a, b) for a in x for b in y]))


def sets(n: int, m: int, size: int, shift: float) -> tuple[Tensor, Tensor]:
    """n and m draws of Gaussians that lie apart by `shift` in every coordinate."""
    return torch.randn(n, size, dtype=torch.float64), shift + torch.randn(m, size, dtype=torch.float64)


@pytest.mark.parametrize(("n", "m", "size"), [(3, 3, 1), (7, 12, 4), (12, 7, 4)])
def test_it_is_the_formula_by_loops(n: int, m: int, size: int) -> None:
    x, y = sets(n, m, size, 0.5)
    assert kernel_distance(x, y)[0].item() == pytest.approx(by_loops(x, y), rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (6, 9)])
def test_its_error_is_that_of_leaving_out_one_at_a_time(n: int, m: int) -> None:
    x, y = sets(n, m, 3, 0.5)
    variance = 0.0
    for which, count in ((0, n), (1, m)):
        left = []
        for i in range(count):
            rest = [x, y]
            rest[which] = torch.cat([rest[which][:i], rest[which][i + 1 :]])
            left.append(kernel_distance(*rest)[0].item())
        variance += (count - 1) / count * np.square(np.array(left) - np.mean(left)).sum()
    assert kernel_distance(x, y)[1].item() == pytest.approx(variance**0.5, rel=1e-9)


def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sets(23, 31, 5, 0.3)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(module, "TILE", 7)
    for a, b in zip(whole, kernel_distance(x, y), strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-10)


@pytest.mark.parametrize(("shift", "most"), [(0.3, 1.25), (0.0, 1.7)], ids=["different", "the same"])
def test_it_varies_about_the_truth_as_its_error_says_and_not_more(shift: float, most: float) -> None:
    found, errors = zip(*(kernel_distance(*sets(60, 80, 4, shift)) for _ in range(400)), strict=True)
    values, spread = torch.stack(found), torch.stack(found).std()
    truth, its_error = kernel_distance(*sets(4000, 4000, 4, shift))
    assert (values.mean() - truth).abs() < 5 * (spread**2 / 400 + its_error**2).sqrt(), "unbiased"
    # A standard deviation of 400 numbers is known to 4 %. Between equals leaving out overstates it by up to sqrt(2).
    ratio = (torch.stack(errors).square().mean().sqrt() / spread).item()
    assert 0.85 < ratio < most


class ForTorchmetrics(nn.Module):
    """Flat images as features, in the shape that torchmetrics asks for."""

    num_features = 64

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double()


@pytest.mark.filterwarnings("ignore:.*will save all extracted features.*")
def test_kid_is_that_of_torchmetrics_on_one_subset_of_all_images() -> None:
    data = few_digits(100)
    real, made = data.images("test"), 0.7 * data.images("train")
    features = part_of("features", "pixels", data_name="digits", shape=data.shape)
    given = inputs(real, features=features, images={"prior": made, "real": real})
    measured = KernelDistance().measure(given)
    numbers = measured.values

    theirs = KernelInceptionDistance(feature=ForTorchmetrics(), subsets=1, subset_size=100, normalize=True)
    theirs.update(real, real=True)
    theirs.update(made, real=False)
    # Theirs is of images rounded down to 256 levels.
    assert numbers["kid/prior"] == pytest.approx(theirs.compute()[0].item(), rel=0.02)
    assert numbers["kid/prior"] > 5 * measured.standard_errors["kid/prior"]
    assert numbers["kid/real"] < 0, "the very same images: nearer than another draw would be"


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (8, 13)])
def test_cmmd_is_the_formula_by_loops_and_nearly_that_of_its_published_code(n: int, m: int) -> None:
    x, y = (unit(rows) for rows in sets(n, m, 6, 0.3))

    def k(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * 10**2))

    within = [np.mean([k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    between = np.mean([k(a, b) for a in x for b in y])
    found = 1000 * kernel_distance(x, y, gaussian(10))[0].item()
    assert found == pytest.approx(1000 * float(sum(within) - 2 * between), rel=1e-9)
    published = 1000 * (np.mean([[k(a, b) for a in x] for b in x]) + np.mean([[k(a, b) for a in y] for b in y]))
    published -= 2000 * between
    assert 0 < published - found < 1000 * (1 - math.exp(-2 / 10**2)) * (1 / n + 1 / m), "by the docstring at most"


class UnitPixels(PixelFeatures):
    """Features of length 1."""

    def forward(self, images: Tensor) -> Tensor:
        return unit(super().forward(images))


def test_cmmd_is_measured_of_embeddings_of_length_1_alone() -> None:
    data = few_digits(100)
    real, made = data.images("test"), data.images("train").roll(2, 3)
    metric = part_of("metric", "cmmd")
    features = UnitPixels(data_name="digits", shape=data.shape)
    measured = metric.measure(inputs(real, features=features, images={"prior": made, "real": real}))
    known, error = kernel_distance(unit(made.flatten(1)), unit(real.flatten(1)), gaussian(10))
    assert measured.values["cmmd/prior"] == pytest.approx(1000 * known.item(), rel=1e-4)
    assert measured.standard_errors["cmmd/prior"] == pytest.approx(1000 * error.item(), rel=1e-4)
    assert measured.values["cmmd/prior"] > 5 * measured.standard_errors["cmmd/prior"]
    assert measured.values["cmmd/real"] < 0, "the very same images"
    others = PixelFeatures(data_name="digits", shape=data.shape)
    skipped = part_of("metric", "cmmd").measure(inputs(real, features=others, images={"prior": made}))
    assert not skipped.values
    assert "take features=clip" in skipped.skipped["cmmd/prior"]


def test_kernels_of_one_bandwidth_are_not_those_of_another_or_of_kid() -> None:
    data = few_digits(40)
    real, made = data.images("test"), data.images("train").roll(2, 3)
    features = UnitPixels(data_name="digits", shape=data.shape)
    given = inputs(real, features=features, images={"prior": made})
    part_of("metric", "kid").measure(given)  # sums over the real images are kept
    for bandwidth in (10, 0.5):
        measured = part_of("metric", "cmmd", bandwidth=bandwidth, scale=1).measure(given)
        fresh, _ = kernel_distance(unit(made.flatten(1)), unit(real.flatten(1)), gaussian(bandwidth))
        assert measured.values["cmmd/prior"] == pytest.approx(fresh.item(), rel=1e-4)
