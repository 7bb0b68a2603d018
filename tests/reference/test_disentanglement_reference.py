"""Scores of disentanglement on codes whose score is known, and against other implementations of their formulas."""

import functools
import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score
from torch import Tensor

from latentbench.contracts.images import GivenImages, few_digits
from latentbench.contracts.options import brief_metric, inputs, node_of, options, part_of, untrained
from latentbench.data.base import Splits
from latentbench.errors import UserError
from latentbench.metrics.disentanglement_completeness_informativeness import (
    completeness,
    disentanglement,
    importances,
)
from latentbench.metrics.factor_vae_score import factor_vae_score, least_varying
from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors, halves_of
from latentbench.metrics.mutual_information_gap import discretize, mutual_information, mutual_information_gap
from latentbench.metrics.separated_attribute_predictability import predictability, separated_attribute_predictability

VALUES = (3, 4, 5)
# Every combination several times, so that each part of a random split has each: independent factors, exactly.
FACTORS = torch.cartesian_prod(*(torch.arange(n) for n in VALUES)).repeat(12, 1)
N = len(FACTORS)
FACTOR_METRICS = [option for option in options("metric") if isinstance(part_of("metric", option), FactorMetric)]


def mig(codes: Tensor, factors: Tensor = FACTORS) -> float:
    return mutual_information_gap(codes, factors, bins=20).item()


def sap(codes: Tensor, factors: Tensor = FACTORS) -> float:
    return separated_attribute_predictability(codes, factors).item()


def vote(codes: Tensor, factors: Tensor = FACTORS) -> float:
    return factor_vae_score(codes, factors, images=32, votes=2000, judged=2000).item()


def dci(codes: Tensor, factors: Tensor = FACTORS) -> dict[str, float]:
    importance, accuracy = importances(codes, factors, trees=5, leaves=[1, 8])
    scores = {"disentanglement": disentanglement(importance), "completeness": completeness(importance)}
    return {name: value.item() for name, value in (scores | {"informativeness": accuracy.mean()}).items()}


def every_score(codes: Tensor, factors: Tensor = FACTORS) -> dict[str, float]:
    """All six, from the same random numbers."""
    torch.manual_seed(3)
    return {"mig": mig(codes, factors), "sap": sap(codes, factors), "vote": vote(codes, factors), **dci(codes, factors)}


def rotated(codes: Tensor, i: int, j: int, degrees: float) -> Tensor:
    """Two dimensions of the codes turned into each other."""
    turned = codes.clone()
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned[:, i], turned[:, j] = c * codes[:, i] - s * codes[:, j], s * codes[:, i] + c * codes[:, j]
    return turned


def perfect() -> Tensor:
    """Each code a factor: in another order, stretched, shifted, one turned around."""
    return FACTORS.double()[:, [2, 0, 1]] * torch.tensor([3.0, -0.1, 1.0]) + torch.tensor([0.0, 5.0, -1.0])


PERFECT = {"mig": 1.0, "vote": 1.0, "disentanglement": 1.0, "completeness": 1.0, "informativeness": 1.0}
# Of independent factors the next best code guesses as one that says nothing.
PERFECT |= {"sap": 1 - sum(1 / n for n in VALUES) / 3}


def assert_perfect(made: dict[str, float], sap: float = PERFECT["sap"]) -> None:
    """The next best code guesses worse than chance, as what half of the balanced images lacks the other half has."""
    assert made.pop("sap") == pytest.approx(sap, abs=0.05)
    assert made == pytest.approx({name: score for name, score in PERFECT.items() if name != "sap"}, abs=1e-12)


def test_codes_that_are_the_factors_have_the_highest_scores() -> None:
    assert_perfect(every_score(perfect()))


def test_a_code_may_be_any_one_to_one_function_of_its_factor() -> None:
    codes = FACTORS.double()
    codes[:, 2] = torch.tensor([3.0, 0.0, 4.0, 1.0, 2.0])[FACTORS[:, 2]]
    codes[:, 1] = codes[:, 1] ** 2
    assert_perfect(every_score(codes))


def test_codes_that_say_nothing_have_the_lowest_scores() -> None:
    # Many images, as the scores of few are above their limits: of mutual information by 19 x 4 / 2N.
    factors = FACTORS.repeat(4, 1)
    made = every_score(torch.randn(len(factors), 6), factors)
    assert made["mig"] < 0.02
    assert made["sap"] < 0.03
    assert made["disentanglement"] < 0.05
    assert made["completeness"] < 0.05
    chance = sum(1 / n for n in VALUES) / 3
    assert made["informativeness"] == pytest.approx(chance, abs=0.05)
    assert made["vote"] == pytest.approx(1 / 3, abs=0.06)  # five standard errors of 2,000 guesses


def test_constant_codes_have_scores_of_nothing() -> None:
    made = every_score(torch.full((N, 4), 0.1))
    assert made.pop("informativeness") == pytest.approx(sum(1 / n for n in VALUES) / 3, abs=0.1)
    assert made == {"mig": 0, "sap": 0, "vote": 0, "disentanglement": 0, "completeness": 0}


def test_a_dead_dimension_changes_no_score_of_perfect_codes() -> None:
    assert_perfect(every_score(torch.cat([torch.full((N, 1), 0.1), perfect()], 1)))


def test_a_factor_with_one_value_is_left_out_and_gaps_between_values_do_not_count() -> None:
    codes = perfect() + 0.5 * torch.randn(N, 3)
    with_constant = torch.cat([torch.full((N, 1), 7), 10 * FACTORS - 3], 1)
    assert every_score(codes, with_constant) == every_score(codes)


def test_one_code_and_one_factor_have_finite_scores() -> None:
    made = every_score(FACTORS[:, :1].double(), FACTORS[:, :1])
    assert_perfect(made, sap=1 - 1 / 3)
    # One code of three factors: it is complete, as no other code is there, and the guess of one factor in three.
    made = every_score(FACTORS[:, :1].double())
    assert made["mig"] == pytest.approx(1 / 3, abs=0.01)
    assert made["sap"] == pytest.approx((1 - 1 / 3) / 3, abs=0.03)
    assert made["completeness"] == 1
    assert made["vote"] == pytest.approx(1 / 3, abs=0.06)


def test_nothing_that_varies_or_unequal_numbers_are_errors() -> None:
    for score in (mig, sap, vote, dci):
        with pytest.raises(ValueError, match="no factor has two values"):
            score(perfect(), torch.ones(N, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match=rf"{N} codes do not match the factors of 5 images"):
            score(perfect(), FACTORS[:5])
    with pytest.raises(ValueError, match="3 images"):
        dci(perfect()[::100][:3], FACTORS[::100][:3])


def test_the_order_of_the_images_changes_no_score() -> None:
    codes = perfect() + torch.randn(N, 3)
    order = torch.randperm(N)
    assert every_score(codes[order], FACTORS[order]) == every_score(codes)


@pytest.mark.parametrize("score", [mig, sap])
def test_the_order_and_the_scale_of_the_codes_hardly_change_a_score_that_nothing_is_drawn_for(
    score: Callable[[Tensor], float],
) -> None:
    codes = perfect() + torch.randn(N, 3)
    stretched = codes[:, [1, 2, 0]] * torch.tensor([-2.0, 0.5, 8.0])
    assert score(stretched) == pytest.approx(score(codes), abs=0.04)  # the halves are others


def test_a_seed_settles_every_score_and_another_changes_those_that_are_drawn() -> None:
    codes = perfect() + torch.randn(N, 3)
    assert every_score(codes) == every_score(codes)
    for score in (vote, dci):
        torch.manual_seed(0)
        one = score(codes)
        assert score(codes) != one


@functools.cache
def scores_of_turned_codes(angle: float) -> dict[str, float]:
    return every_score(rotated(FACTORS.double(), 1, 2, angle))


@pytest.mark.parametrize("name", ["mig", "sap", "disentanglement", "completeness"])
def test_turning_two_codes_into_each_other_lowers_the_score(name: str) -> None:
    straight, little, much = (scores_of_turned_codes(angle)[name] for angle in (0, 20, 45))
    assert much < little - 0.01 < straight - 0.2


def test_two_factors_in_one_code_are_complete_and_not_disentangled() -> None:
    codes = torch.stack([FACTORS[:, 0] * 4.0 + FACTORS[:, 1], FACTORS[:, 2].double()], 1)
    made = every_score(codes)
    assert made["completeness"] == pytest.approx(1)
    # Of importances (1, 1, 0) and (0, 0, 1): 2/3 (1 - log 2 / log 3) + 1/3.
    assert made["disentanglement"] == pytest.approx(2 / 3 * (1 - math.log(2) / math.log(3)) + 1 / 3)
    assert made["informativeness"] == 1
    assert made["vote"] < 0.8


def test_a_factor_in_two_codes_is_disentangled_and_not_complete() -> None:
    codes = torch.cat([FACTORS.double(), FACTORS[:, :1].double()], 1)
    made = every_score(codes)
    assert made["disentanglement"] == pytest.approx(1)
    assert made["completeness"] < 0.95
    assert made["mig"] == pytest.approx(2 / 3), "the twin takes the gap away"
    assert made["vote"] == 1


# --- each formula against another implementation


def unbiased_information(one: np.ndarray, other: np.ndarray) -> float:
    """scikit-learn's, without its bias of order 1 / N (Miller 1955)."""
    occurring = [len(np.unique(column, axis=0)) for column in (one, other, np.stack([one, other], 1))]
    return float(mutual_info_score(one, other)) + (occurring[0] + occurring[1] - occurring[2] - 1) / (2 * len(one))


def unbiased_entropy(factor: np.ndarray) -> float:
    return float(scipy_entropy(np.bincount(factor))) + (len(np.unique(factor)) - 1) / (2 * len(factor))


def test_mutual_information_is_that_of_scikit_learn() -> None:
    binned, factors = torch.randint(0, 7, (200, 4)), torch.randint(0, 5, (200, 3))
    binned[:, 1] = factors[:, 2]
    information, entropy = mutual_information(binned, factors)
    for i, k in itertools.product(range(4), range(3)):
        wanted = unbiased_information(binned[:, i].numpy(), factors[:, k].numpy())
        assert information[i, k].item() == pytest.approx(wanted, abs=1e-12)
    wanted = [unbiased_entropy(factor) for factor in factors.T.numpy()]
    np.testing.assert_allclose(entropy.numpy(), wanted, rtol=1e-12)


def test_bins_are_those_of_numpys_histogram() -> None:
    codes = torch.randn(500, 3, dtype=torch.float64)
    codes[:, 2] = 4.0
    for column, bins in zip(codes[:, :2].T.numpy(), discretize(codes, 20)[:, :2].T.numpy(), strict=True):
        np.testing.assert_array_equal(np.bincount(bins, minlength=20), np.histogram(column, 20)[0])
    assert (discretize(codes, 20)[:, 2] == 0).all()


def test_the_gap_is_that_of_the_two_best_codes_of_each_factor() -> None:
    codes, gaps = canonical_codes_and_factors(FACTORS.double() + torch.randn(N, 3), FACTORS)[0], []
    factors = canonical_codes_and_factors(FACTORS.double() + torch.randn(N, 3), FACTORS)[1].numpy()
    cut = [np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in codes.T.numpy()]
    for asked, ranking in itertools.permutations(half.numpy() for half in halves_of(N)):
        for factor in factors.T:
            order = sorted(cut, key=lambda one: -unbiased_information(one[ranking], factor[ranking]))
            first, second = (unbiased_information(one[asked], factor[asked]) for one in order[:2])
            gaps.append((first - second) / unbiased_entropy(factor[asked]))
    assert mig(codes, torch.from_numpy(factors)) == pytest.approx(np.mean(gaps), abs=1e-12)


@pytest.mark.parametrize(("images", "half"), [(80, None), (79, 39)])
def test_halves_with_fewer_than_five_images_per_bin_and_value_have_a_caveat(images: int, half: int | None) -> None:
    factors = torch.stack([torch.arange(images) % 2, torch.arange(images) // 2 % 2], 1)
    metric = part_of("metric", "mig", bins=4)
    metric.update(factors.double(), factors)
    caveat = metric.compute()["mig"].caveat
    assert bool(caveat) == (half is not None)
    if half:
        assert caveat.startswith(f"two halves of {half} images for 4 bins and 2 values")
        assert f"too low by up to {3 * 1 / (2 * half) / math.log(2):.2g};" in caveat


def test_disentanglement_and_completeness_are_entropies_of_the_importances() -> None:
    importance = torch.rand(4, 3, dtype=torch.float64) ** 3
    r = importance.numpy()
    wanted = np.average([1 - scipy_entropy(row, base=3) for row in r], weights=r.sum(1))
    assert disentanglement(importance).item() == pytest.approx(wanted, abs=1e-12)
    wanted = np.average([1 - scipy_entropy(column, base=4) for column in r.T], weights=r.sum(0))
    assert completeness(importance).item() == pytest.approx(wanted, abs=1e-12)


def test_a_code_without_importance_has_no_weight() -> None:
    importance = torch.tensor([[0.9, 0.2], [0.1, 0.8], [0.0, 0.0]], dtype=torch.float64)
    assert disentanglement(importance) == disentanglement(importance[:2])
    assert disentanglement(torch.zeros(3, 2)) == completeness(torch.zeros(3, 2)) == 0
    assert disentanglement(torch.ones(3, 2)) == completeness(torch.ones(3, 2)) == 0


def test_importances_are_the_parts_of_the_code_that_is_looked_at() -> None:
    importance, accuracy = importances(perfect(), FACTORS, trees=5, leaves=[1])
    assert torch.equal(importance, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]).double())
    assert torch.equal(accuracy, torch.ones(3).double())


def test_half_of_the_images_train_a_forest_a_quarter_selects_it_and_a_quarter_tests_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []
    for name in ("fit", "score"):
        method = getattr(RandomForestClassifier, name)

        def spy(forest: Any, x: np.ndarray, y: np.ndarray, method: Callable[..., Any] = method) -> Any:
            seen.append(x[:, 0])
            return method(forest, x, y)

        monkeypatch.setattr(RandomForestClassifier, name, spy)
    importances(torch.arange(20)[:, None], torch.arange(20)[:, None] % 2, trees=1, leaves=[1])
    assert [len(part) for part in seen] == [10, 5, 5]
    assert sorted(np.concatenate(seen)) == list(range(20)), "no image is in two parts"


def test_large_leaves_are_taken_where_small_ones_split_on_noise_and_small_ones_where_they_are_needed() -> None:
    # 0.6 of a step from value to value: some guesses are wrong at best, and small leaves go on to split on noise.
    many = FACTORS.repeat(2, 1)
    noisy = torch.cat([many + 0.6 * torch.randn(len(many), 3), torch.randn(len(many), 3)], 1)
    turned = rotated(FACTORS.double(), 1, 2, 45)

    def scores(codes: Tensor, factors: Tensor, *leaves: int) -> Tensor:
        torch.manual_seed(0)
        importance, accuracy = importances(codes, factors, trees=10, leaves=leaves)
        return torch.stack([disentanglement(importance), accuracy.mean()])

    assert torch.equal(scores(noisy, many, 1, 64), scores(noisy, many, 64))
    assert scores(noisy, many, 64)[0] > scores(noisy, many, 1)[0] + 0.5
    assert torch.equal(scores(turned, FACTORS, 1, 64), scores(turned, FACTORS, 1))
    assert scores(turned, FACTORS, 1)[1] > scores(turned, FACTORS, 64)[1] + 0.2


def test_predictability_by_hand() -> None:
    factors = torch.tensor([[0, 0], [0, 1], [0, 0], [1, 1], [1, 0], [1, 1]])
    codes = torch.tensor([[0.0, 0], [1, 0], [2, 1], [3, 0], [4, 1], [5, 1]])
    # Factor 0: code 0 tells it; code 1 is wrong of the third and the fourth image.
    # Factor 1: one threshold on code 0 cuts off the first image or the last, of which one value is right in full and
    # the other in a third; code 1, turned around, is right of two images in three of each value.
    wanted = torch.tensor([[1, 2 / 3], [2 / 3, 2 / 3]], dtype=torch.float64)
    every = torch.arange(6)
    for made in predictability(codes.double(), factors, every, every):
        torch.testing.assert_close(made, wanted)
    assert sap(codes.repeat(500, 1), factors.repeat(500, 1)) == pytest.approx((1 / 3 + 0) / 2, abs=0.03)


def test_predictability_weighs_values_alike_however_frequent_they_are() -> None:
    factors = torch.tensor([[0]] * 9 + [[1]])
    codes = torch.tensor([[0.0]] * 6 + [[1.0]] * 4)
    _, found = predictability(codes, factors, torch.arange(10), torch.arange(10))
    assert found.item() == pytest.approx((6 / 9 + 1) / 2), "not 9 in 10 by guessing the first"


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_hardly_worse_than_the_best_there_are(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.arange(30) % 3
    code = factor + torch.randn(30, generator=generator, dtype=torch.float64)
    order = code.argsort()
    best = 0.0
    for cuts in itertools.combinations_with_replacement(range(31), 2):
        parts = factor[order].tensor_split(cuts)
        # Values are equally frequent here, so that the balanced accuracy is the accuracy.
        best = max(best, sum(part.bincount(minlength=3).max().item() for part in parts) / 30)
    _, found = predictability(code[:, None], factor[:, None], torch.arange(30), torch.arange(30))
    assert best - 0.1 <= found.item() <= best + 1e-12


def by_loops(codes: np.ndarray, factors: np.ndarray, images: int, votes: int, judged: int) -> float:
    """The score of Kim & Mnih 2018, batch by batch."""
    random = np.random.default_rng(0)
    spread = codes.var(0, ddof=1)

    def one() -> tuple[int, int]:
        k = random.integers(factors.shape[1])
        value = random.choice(np.unique(factors[:, k]))
        batch = codes[random.choice(np.flatnonzero(factors[:, k] == value), images)]
        return int((batch.var(0, ddof=1) / spread).argmin()), int(k)

    counts = np.zeros((codes.shape[1], factors.shape[1]))
    for _ in range(votes):
        counts[one()] += 1
    guess = counts.argmax(1)
    return float(np.mean([guess[i] == k for i, k in (one() for _ in range(judged))]))


def test_the_vote_is_that_of_a_loop_over_batches() -> None:
    # Rare values too, and a code that is far longer than the others: both would show in the score.
    factors = FACTORS[(FACTORS[:, 2] < 3) | (torch.arange(N) % 5 == 0)]
    codes = rotated(factors.double() + 0.7 * torch.randn(len(factors), 3), 0, 1, 35) * torch.tensor([1.0, 50.0, 1.0])
    made = factor_vae_score(codes, factors, images=8, votes=3000, judged=3000).item()
    wanted = by_loops(codes.numpy(), factors.numpy(), images=8, votes=3000, judged=3000)
    assert 0.5 < wanted < 0.95, "neither all nor nothing, so that the comparison tells"
    assert made == pytest.approx(wanted, abs=5 * math.sqrt(2 * 0.25 / 3000))


def test_batches_have_every_value_alike_often_and_images_of_that_value_alone() -> None:
    factor = torch.arange(3).repeat_interleave(torch.tensor([10, 100, 300]))[torch.randperm(410)]
    codes = torch.randn(410, 3, dtype=torch.float64)
    codes[torch.arange(410), factor] = 0  # in a batch of one value, the code of that number stands still
    code, chosen = least_varying(codes, factor[:, None], images=8, batches=3000)
    assert (chosen == 0).all()
    assert ((code.bincount(minlength=3) - 1000).abs() < 5 * math.sqrt(3000 * 2 / 9)).all()


def test_the_vote_by_hand() -> None:
    # One factor in both codes: no batch tells the other factor, and one guess in two is right.
    factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(50, 1)
    codes = torch.stack([factors[:, 0], 10 * factors[:, 0]], 1)
    made = factor_vae_score(codes, factors, images=16, votes=2000, judged=2000).item()
    assert made == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 2000))


def test_canonical_codes_are_sorted_and_factors_counted_from_0() -> None:
    codes = torch.tensor([[1.0, 5], [0, 3], [0, 2], [7, 7]])
    factors = torch.tensor([[9, 4, 1], [5, 4, 1], [5, 4, 1], [5, 4, 0]])
    made = canonical_codes_and_factors(codes, factors)
    assert torch.equal(made[0], torch.tensor([[7.0, 7], [0, 2], [0, 3], [1, 5]]).double())
    assert torch.equal(made[1], torch.tensor([[0, 0], [0, 1], [0, 1], [1, 1]]))


# --- as metrics of a model


def known(factors: Tensor | None, codes: Tensor, model: Any = None) -> Any:
    """What a metric is shown of a model with the given codes."""
    data = SimpleNamespace(is_binary=False, name="some", factors=lambda split: {"test": factors}[split])
    encoder = SimpleNamespace(cannot=lambda ability, binary: None, encode=lambda images: images)
    return inputs(codes, data=data, model=model or encoder)


@pytest.mark.parametrize("option", FACTOR_METRICS)
def test_a_metric_gives_its_functions_numbers_of_the_test_images(option: str) -> None:
    metric = part_of("metric", option, trees=2, leaves=[8]) if option == "dci" else brief_metric(option)
    for _ in range(2):  # a metric that is measured twice starts anew
        measured = metric.measure(known(FACTORS, perfect()))
        numbers, skipped = measured.values, measured.skipped
        assert not skipped
        assert set(numbers) == {f"{name}/test" for name in metric.quantities}
        for key, value in numbers.items():
            assert value == pytest.approx(
                PERFECT["sap"] if key == "sap/test" else 1, abs=0.05 if key == "sap/test" else 1e-6
            )


def test_there_are_four_such_metrics() -> None:
    assert FACTOR_METRICS == ["dci", "factor_vae_score", "mig", "sap"]


@pytest.mark.parametrize("option", FACTOR_METRICS)
@pytest.mark.parametrize(
    ("factors", "codes", "reason"),
    [
        (None, perfect(), "data=some has no known factors"),
        (FACTORS[:, :1], perfect(), "only 1 of the known factors vary among the test images: at least two are needed"),
        (torch.ones(N, 3), perfect(), "only 0 of the known factors vary"),
        (FACTORS, perfect() / 0, "images have codes that are not finite numbers"),
    ],
)
def test_what_cannot_be_measured_has_a_reason(option: str, factors: Tensor, codes: Tensor, reason: str) -> None:
    metric = part_of("metric", option)
    measured = metric.measure(known(factors, codes))
    numbers, skipped = measured.values, measured.skipped
    assert not numbers
    assert set(skipped) == {f"{name}/test" for name in metric.quantities}
    assert all(reason in said for said in skipped.values())


@pytest.mark.parametrize("option", FACTOR_METRICS)
def test_a_model_without_an_encoder_is_refused(option: str) -> None:
    gan = untrained(few_digits(), "method=gan")
    skipped = part_of("metric", option).measure(known(FACTORS, perfect(), gan)).skipped
    assert set(skipped.values()) == {gan.cannot("encode", binary=False)}


def test_the_codes_of_a_model_are_the_points_of_its_posteriors() -> None:
    data = few_digits()
    assert isinstance(data, GivenImages)
    given: Splits = data.given
    assert data.factors("test") is None, "of digits"
    model = untrained(data, "method=vae")
    shown = inputs(data.images("test"), data=data, model=model)
    with torch.no_grad():
        torch.testing.assert_close(shown.codes, model.posterior_distribution(data.images("test")).mean)
        torch.testing.assert_close(model.reconstruct(data.images("test")), model.decode(shown.codes))
    assert shown.codes is shown.codes, "made once"
    assert given.factors == {}


@pytest.mark.parametrize(
    ("option", "settings", "message"),
    [
        ("mig", {"bins": 1}, r"metric\.mig\.bins=1: give a whole number, 2 or more"),
        ("dci", {"trees": 0}, r"metric\.dci\.trees=0: give a whole number, 1 or more"),
        ("dci", {"leaves": []}, r"metric\.dci\.leaves=\[\]: give a list"),
        ("dci", {"leaves": [0, 8]}, r"metric\.dci\.leaves=\[0, 8\]: give a list"),
        ("factor_vae_score", {"images": 1}, r"metric\.factor_vae_score\.images=1: give a whole number, 2 or more"),
        ("factor_vae_score", {"votes": 0}, r"metric\.factor_vae_score\.votes=0: give a whole number, 1 or more"),
        ("factor_vae_score", {"judged": 2.5}, r"metric\.factor_vae_score\.judged=2\.5: give a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(option: str, settings: dict[str, Any], message: str) -> None:
    assert set(settings) <= set(node_of("metric", option))
    with pytest.raises(UserError, match=message):
        part_of("metric", option, **settings)
