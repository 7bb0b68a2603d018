"""Precision, recall, density and coverage against the package prdc and loops; nearest neighbours against scipy."""

import numpy as np
import pytest
import scipy.spatial
import torch
from torch import Tensor

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import inputs, part_of
from latentbench.errors import UserError
from latentbench.metrics import precision_recall_density_coverage as module
from latentbench.metrics.nearest_neighbour_ratio import nearest, nearest_neighbour_ratio, ratio_of_distances
from latentbench.metrics.precision_recall_density_coverage import (
    Overlap,
    precision_recall_density_coverage,
    squared_radii,
)


def close(made: Overlap, **known: float) -> None:
    """All four are as known: shares of counts, so exactly but for the division."""
    for name, value in known.items():
        assert getattr(made, name).item() == pytest.approx(value, rel=1e-12), name


def clouds(n: int, m: int, size: int = 6) -> tuple[Tensor, Tensor]:
    """Draws of two distributions of which neither covers the other."""
    made = 0.7 * torch.randn(m, size) + 0.8
    return torch.randn(n, size), made


def by_loops(real: Tensor, made: Tensor, k: int) -> dict[str, float]:
    """The definitions, pair by pair."""

    def radius(v: Tensor, among: Tensor) -> float:
        return sorted((v - other).norm().item() for other in among)[k]

    real_radii, made_radii = [radius(x, real) for x in real], [radius(y, made) for y in made]
    inside = [[(x - y).norm().item() <= r for y in made] for x, r in zip(real, real_radii, strict=True)]
    reached = [any((x - y).norm().item() <= r for y, r in zip(made, made_radii, strict=True)) for x in real]
    return {
        "precision": sum(map(any, zip(*inside, strict=True))) / len(made),
        "recall": sum(reached) / len(real),
        "density": sum(map(sum, inside)) / len(made) / k,
        "coverage": sum(map(any, inside)) / len(real),
    }


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 5), (25, 40, 1), (40, 25, 3), (6, 6, 5)])
def test_it_is_the_definition_by_loops(n: int, m: int, k: int) -> None:
    real, made = clouds(n, m)
    close(precision_recall_density_coverage(real, made, k), **by_loops(real.double(), made.double(), k))


@pytest.mark.parametrize(("n", "m"), [(300, 300), (300, 700)])
def test_it_is_what_the_package_prdc_gives(n: int, m: int) -> None:
    prdc = pytest.importorskip("prdc", reason="the package prdc is not installed")
    real, made = (cloud.double() for cloud in clouds(n, m, 64))
    close(precision_recall_density_coverage(real, made, 5), **prdc.compute_prdc(real.numpy(), made.numpy(), 5))


def test_rows_held_at_once_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = clouds(53, 61)
    whole = precision_recall_density_coverage(real, made, 4)
    monkeypatch.setattr(module, "ROWS", 7)
    close(precision_recall_density_coverage(real, made, 4), **{k: v.item() for k, v in whole._asdict().items()})


@pytest.mark.parametrize("far", [0.0, 1e4], ids=["about the origin", "far from it"])
@pytest.mark.parametrize("copies", [1, 4])
def test_a_perfect_copy_has_all_of_the_data_even_where_images_are_there_many_times(copies: int, far: float) -> None:
    real = torch.randn(40, 6).repeat(copies, 1).double() + far
    made = precision_recall_density_coverage(real, real[torch.randperm(len(real))], 3)
    close(made, precision=1, recall=1, coverage=1)
    assert made.density >= 1


def test_samples_all_alike_reach_one_image_or_none() -> None:
    real = torch.randn(40, 6)
    on_it = precision_recall_density_coverage(real, real[:1].repeat(40, 1), 5)
    close(on_it, precision=1, recall=1 / 40)
    assert 0 < on_it.coverage < 0.5
    close(
        precision_recall_density_coverage(real, torch.full((40, 6), 50.0), 5),
        precision=0,
        recall=0,
        density=0,
        coverage=0,
    )
    flat = torch.zeros(40, 6)
    close(precision_recall_density_coverage(flat, flat, 5), precision=1, recall=1, density=8, coverage=1)


def test_draws_of_one_distribution_have_density_1_and_the_coverage_that_k_gives() -> None:
    one, other = torch.randn(3000, 8), torch.randn(3000, 8)
    made = precision_recall_density_coverage(one, other, 5)
    # Naeem et al. 2020: both expectations do not depend on the distribution; standard errors are about 0.01.
    assert made.density.item() == pytest.approx(1, abs=0.05)
    assert made.coverage.item() == pytest.approx(1 - 2**-5, abs=0.02)


def test_radii_reach_to_the_kth_neighbour() -> None:
    points = torch.randn(50, 3, dtype=torch.float64) + 100
    distances, _ = scipy.spatial.KDTree(points.numpy()).query(points.numpy(), k=5)
    torch.testing.assert_close(squared_radii(points, 4).sqrt(), torch.from_numpy(distances[:, 4]))


def test_k_must_be_less_than_the_number_of_images() -> None:
    data = few_digits(5)
    features = part_of("features", "pixels", data_name="digits", shape=data.shape)
    given = inputs(data.images("test"), features=features, images={"real": data.images("validation")})
    measured = part_of("metric", "prdc", k=5).measure(given)
    assert not measured.values
    assert measured.skipped["recall/real"] == "sets need at least 6 images and have 5"
    assert set(part_of("metric", "prdc", k=4).measure(given).values) == set(measured.skipped)
    with pytest.raises(UserError, match=r"metric\.prdc\.k=0: give a whole number, 1 or more"):
        part_of("metric", "prdc", k=0)


def test_radii_of_one_k_are_not_those_of_another() -> None:
    data = few_digits(40)
    features = part_of("features", "pixels", data_name="digits", shape=data.shape)
    made = data.images("validation").roll(1, 3)
    for k in (5, 3):  # the radii of the real images are kept
        given = inputs(data.images("test"), features=features, images={"prior": made})
        measured = part_of("metric", "prdc", k=k).measure(given)
        fresh = precision_recall_density_coverage(data.images("test").flatten(1), made.flatten(1), k)
        assert measured.values["density/prior"] == pytest.approx(fresh.density.item())


# Memorization


def test_nearest_distances_are_scipys_and_0_to_copies() -> None:
    points, others = torch.rand(50, 20), torch.rand(80, 20)
    known, _ = scipy.spatial.KDTree(others.double().numpy()).query(points.double().numpy())
    torch.testing.assert_close(nearest(points, others).distance, torch.from_numpy(known))
    assert not nearest(others[::3], others).distance.any()


@pytest.mark.parametrize("blur", [0.0, 0.9], ids=["sharp", "blurred"])
def test_samples_that_know_neither_set_are_as_far_from_both_in_the_mean_however_near_to_everything_they_are(
    blur: float,
) -> None:
    differences, distances = [], []
    for _ in range(300):
        training, held_out, fresh = torch.rand(3, 50, 10)
        samples = blur * 0.5 + (1 - blur) * fresh
        pair = [nearest(samples, images).distance.mean().item() for images in (training, held_out)]
        differences.append(pair[0] - pair[1])
        distances += pair
        assert nearest_neighbour_ratio(samples, training, held_out).item() == pytest.approx(pair[0] / pair[1])
    assert abs(np.mean(differences)) < 4 * np.std(differences) / 300**0.5
    assert np.std(differences) < 0.3 * np.mean(distances)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_copies_takes_that_share_off_the_ratio(share: float) -> None:
    training, held_out, fresh = torch.rand(3, 800, 10)
    copied = round(800 * share)
    samples = torch.cat([training[:copied], fresh[copied:]])
    # Nearest distances of 800 points, whose standard deviation is a quarter of their mean.
    assert nearest_neighbour_ratio(samples, training, held_out).item() == pytest.approx(1 - share, abs=0.03)


def test_memorization_is_of_training_against_as_many_test_images() -> None:
    data = few_digits(100)
    train, test = data.images("train"), data.images("test")
    given = inputs(test[:60], data=data, images={"prior": train[:60], "real": data.images("validation")[:60]})
    numbers = part_of("metric", "memorization").measure(given).values
    assert numbers["memorization/prior"] == 0
    known = nearest_neighbour_ratio(*(i[:60].flatten(1) for i in (data.images("validation"), train, test))).item()
    assert numbers["memorization/real"] == pytest.approx(known)
    beyond = inputs(test[:60], data=data, images={"prior": train[60:]})
    assert part_of("metric", "memorization").measure(beyond).values["memorization/prior"] > 0.8, "only as many"


def test_the_error_of_memorization_is_that_of_leaving_out_one_image_at_a_time() -> None:
    torch.manual_seed(0)
    samples, training, held_out = torch.randn(60, 3), torch.randn(40, 3), torch.randn(40, 3)

    def ratio(of: Tensor, near: Tensor, far: Tensor) -> float:
        above, below = (scipy.spatial.distance.cdist(of, others).min(1).sum() for others in (near, far))
        return float(above / below)

    def without(i: int, images: Tensor) -> Tensor:
        return torch.cat([images[:i], images[i + 1 :]])

    found = ratio_of_distances(nearest(samples, training), nearest(samples, held_out), 40)
    left_out = [
        [ratio(without(i, samples), training, held_out) for i in range(60)],
        [ratio(samples, without(i, training), held_out) for i in range(40)],
        [ratio(samples, training, without(i, held_out)) for i in range(40)],
    ]
    jackknife = sum((len(values) - 1) * np.var(values) for values in left_out)
    # The samples' part is its first-order form, and so is that of the held-out images.
    assert float(found.standard_error) == pytest.approx(jackknife**0.5, rel=0.02)


def test_the_images_that_memorization_looks_at_are_the_same_in_whichever_order_they_come() -> None:
    data = few_digits(100)
    images = data.images("validation")
    values = []
    for order in (torch.arange(100), torch.randperm(100)):
        given = inputs(data.images("test"), data=data, images={"real": images[order]})
        values.append(part_of("metric", "memorization", samples=20).measure(given).values["memorization/real"])
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    with pytest.raises(UserError, match=r"metric\.memorization\.samples=0: give a whole number, 1 or more"):
        part_of("metric", "memorization", samples=0)
