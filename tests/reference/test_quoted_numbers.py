"""Numbers that docs/metrics.md quotes come out again, or are in the published records."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.cluster import KMeans
from test_aggregate_posterior_reference import Encoder
from test_image_reference import noisy, sharpened
from test_likelihood_caveats import nll_and_bias
from torch import Tensor

from latentbench.contracts.images import data_set
from latentbench.contracts.options import inputs, node_of, part_of
from latentbench.data.sprites import SHAPES
from latentbench.metrics.frechet_distance import frechet_distance, make_reference, moments, pivoted_root
from latentbench.metrics.frechet_distance_infinity import frechet_distance_infinity
from latentbench.metrics.noise import noise_level
from latentbench.metrics.sharpness import laplacian_variance
from latentbench.records.store import load_published
from latentbench.reporting.notes import BIAS_IN_FLOORS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="there is no docs/metrics.md beside these tests")


def told(words: str) -> list[float]:
    """The numbers that stand for # in these words of the page."""
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    (found,) = re.finditer(re.escape(words).replace(r"\#", r"(\d+(?:\.\d+)?)"), text)
    return [float(number) for number in found.groups()]


def published(study: str, method: str) -> list[dict[str, float]]:
    """The numbers of a method's runs in results/<study>/digits."""
    records = load_published(ROOT / "results" / study / "digits")
    return [record.metrics for record in records if record.choices["method"] == method]


def features_of_digits(*splits: str) -> Tensor:
    data = data_set("digits")
    features = part_of("features", "classifier", data_name="digits", shape=data.shape)
    return torch.cat([features(data.expected_images(split)) for split in splits]).double()


def test_fid_of_few_images() -> None:
    n, draws = 360, 40
    _, covariance = moments(features_of_digits("test"))
    root = pivoted_root(covariance).T
    numbers = told(
        "by # if both are equally distributed, by # if one is half as varied, by # if it is twice as varied, "
        "by # if its images are all alike"
    )
    for scale, number in zip((1.0, 0.5, 2.0, 1e-3), numbers, strict=True):
        biases, left = [], []
        for _ in range(draws):
            real, made = (torch.randn(n, len(root), dtype=torch.float64) @ root for _ in range(2))
            one, other = moments(real), moments(scale * made)
            # What is linear in the covariances has no bias, and would hide that of the rest.
            known = (1 - scale) * one[1].trace() + (1 - 1 / scale) * other[1].trace()
            biases.append(frechet_distance(*one, *other) - known)
            if scale == 1 and len(left) < 20:
                sizes = part_of("metric", "fid_infinity").subset_sizes(n, root.shape[1])
                left.append(frechet_distance_infinity(make_reference(real), made, sizes)[0])
        assert torch.stack(biases).mean().item() == pytest.approx(number, abs=0.3 + 0.12 * number)
        if left:
            of_the_same = torch.stack(biases)[: len(left)].mean()
            assert (torch.stack(left).mean() / of_the_same).item() == pytest.approx(0.5, abs=0.15), "about half"


def test_the_floor_of_other_splits() -> None:
    rows, n = features_of_digits("validation", "test"), 360
    splits = data_set("digits").splits
    labels = torch.cat([splits.labels[split] for split in ("validation", "test")])
    stratified, random = [], []
    for _ in range(60):
        order = torch.randperm(len(rows))
        random.append(frechet_distance(*moments(rows[order[:n]]), *moments(rows[order[n:]])))
        by_class = order[labels[order].argsort(stable=True)]  # neighbours of one class go to different sets
        stratified.append(frechet_distance(*moments(rows[by_class[::2]]), *moments(rows[by_class[1::2]])))
    numbers = told(
        "its mean is # and its standard deviation #, but # and # if they do not keep the share of every class"
    )
    found = [
        statistic.item() for floors in (stratified, random) for statistic in torch.std_mean(torch.stack(floors))[::-1]
    ]
    assert found == pytest.approx(numbers, rel=0.25)
    assert found[2] / found[0] == pytest.approx(BIAS_IN_FLOORS, rel=0.2), "as tables say of the bias"


def test_centroids_and_real_images_of_a_parzen_window() -> None:
    data = data_set("digits")
    real = data.images("train")
    means = KMeans(360, n_init=1, random_state=0).fit(real.flatten(1).numpy()).cluster_centers_
    found = []
    for centres in (torch.from_numpy(means).float().reshape(360, 1, 8, 8), real[:360]):
        made = part_of("metric", "parzen").measure(inputs(data.images("test"), data=data, images={"prior": centres}))
        found += [made.values["parzen/prior"], made.standard_errors["parzen/prior"]]
    assert found == pytest.approx(told("score # ± #, as many real images # ± #"), abs=0.5)


def test_precision_without_recall() -> None:
    runs = published("quick", "ae")
    words = "have a precision of # to # (real images #), a recall of # and a coverage of # to #."
    low, high, real, recall, least, most = told(words)
    for key, bounds in {
        "precision/prior": [low, high],
        "precision/real": [real, real],
        "recall/prior": [recall, recall],
        "coverage/prior": [least, most],
    }.items():
        values = [run[key] for run in runs]
        assert [round(min(values), 2), round(max(values), 2)] == bounds
    coverage, k = told("⁻ᵏ, # for k = #")
    assert coverage == round(1 - 2**-k, 2)


@pytest.mark.parametrize(("kind", "place"), [("digits", 0), ("mnist", 1)])
def test_sharpness_of_binarized_pixels_and_noise_that_looks_like_sharpness(kind: str, place: int) -> None:
    images = data_set(kind).expected_images("test")[:360]
    real = laplacian_variance(images).mean()
    numbers = told("(randomly binarized pixels: # times real digits, # times real MNIST)")
    assert (laplacian_variance(images.bernoulli()).mean() / real).item() == pytest.approx(numbers[place], abs=0.1)
    sharpness, *ratios = told(
        "if noise makes them # times as sharp the ratio is #, if sharpening does, #. On MNIST: # and #."
    )
    for change, number in zip((noisy, sharpened), ratios[2 * place :][:2], strict=True):
        least, most = 0.0, 1.0
        for _ in range(10):
            made = change(images, (least + most) / 2)
            is_sharper = laplacian_variance(made).mean() / real > sharpness
            least, most = (least, (least + most) / 2) if is_sharper else ((least + most) / 2, most)
        assert (noise_level(made).mean() / noise_level(images).mean()).item() == pytest.approx(number, abs=0.1)


def test_nll_where_few_posteriors_are_misplaced() -> None:
    share, bias, size = told(
        "# % of them with q(z|x) misplaced by three standard deviations make # nats in the mean (# latents)"
    )
    biases = [nll_and_bias(1000, latent_size=int(size), share=share / 100, away=3.0)[1] for _ in range(4)]
    assert sum(biases) / 4 == pytest.approx(bias, abs=0.12)


def test_bounds_of_the_two_parts_of_the_rate() -> None:
    limits = told("(# for the digits' # images, # for #")
    assert limits[0] == round(math.log(limits[1]), 1)
    data = data_set("digits")
    assert limits[1] == len(data.images("validation")) + len(data.images("test"))
    images, *numbers = told(
        "# images and an encoder with # nats and a marginal KL of 0 give # to # and # to #, "
        "with # nats # to # and # to #"
    )
    for information, *bounds in (numbers[:5], numbers[5:]):
        made = Encoder(information, 8).measure(360, int(images))
        keys = ("mutual_information", "mutual_information_upper", "marginal_kl_lower", "marginal_kl")
        assert [made[key].value.item() for key in keys] == pytest.approx(bounds, abs=0.15)


def test_inactive_units_that_carry_information() -> None:
    runs = published("regularizers", "capacity_vae")
    fewest, most, information = told(
        "(`capacity_vae` on the digits: # or # unit, at least # nats of mutual information)"
    )
    assert {run["active_units/test"] for run in runs} == {fewest, most}
    assert round(min(run["mutual_information/test"] for run in runs), 1) == information


def test_scores_of_codes_of_sprites() -> None:
    sprites: Any = OmegaConf.to_container(node_of("data", "sprites"))
    values = [len(SHAPES), sprites["scales"], sprites["orientations"], sprites["positions"], sprites["positions"]]
    assert told("(# for these sprites)") == [round(1 - sum(1 / n for n in values) / len(values), 2)]
    assert told("(# with five factors)") == [1 / len(values)]
