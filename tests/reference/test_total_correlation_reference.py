"""The decomposition of the KL divergence against loops over images and closed forms of the total correlation."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Laplace, Normal
from torch.nn.functional import one_hot

from latentbench.contracts.options import options, part_of, refusal_of
from latentbench.regularizers.base import Latents
from latentbench.regularizers.kullback_leibler import kl_per_image
from latentbench.regularizers.total_correlation import TotalCorrelation, stratified, weighted

SHAPE = (1, 2, 2)
BOTH = pytest.mark.parametrize("estimator", ["weighted", "stratified"])


def regularizer(estimator: str, weights: tuple[float, float, float] = (1, 1, 1)) -> TotalCorrelation:
    names = ("mutual_information", "total_correlation", "dimension_wise_kl")
    chosen = dict(zip(names, weights, strict=True))
    made: TotalCorrelation = part_of("regularizer", "total_correlation", latent_size=3, estimator=estimator, **chosen)
    return made


def latents(q: Distribution, p: Distribution, z: Tensor, dataset_size: int) -> Latents:
    return Latents(
        x=torch.zeros(len(z), *SHAPE),
        z=z,
        q=q,
        p=p,
        decoder=torch.nn.Identity(),
        decode=torch.nn.Identity(),
        dataset_size=dataset_size,
    )


def densities(posterior: str, prior: str, batch: int, latent_size: int = 3) -> tuple[Distribution, Distribution]:
    """q(z|x) of random numbers of an encoder, and p(z), in double precision."""
    made_p = part_of("prior", prior, latent_size=latent_size, shape=SHAPE).double()
    made_q = part_of("posterior", posterior, latent_size=latent_size, coordinates=made_p.coordinates)
    return made_q(0.5 * torch.randn(batch, made_q.inputs, dtype=torch.float64)), made_p(None)


PAIRS = [
    pair
    for pair in itertools.product(options("posterior"), options("prior"))
    if refusal_of(*pair, "total_correlation") is None
]


def test_some_pairs_are_taken() -> None:
    assert {("gaussian", "normal"), ("beta", "uniform"), ("categorical", "categorical")} < set(PAIRS)
    assert not {("gaussian_full", "normal"), ("gaussian", "mixture")} & set(PAIRS)


@BOTH
@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_the_three_parts_add_up_to_the_mean_log_ratio(posterior: str, prior: str, estimator: str) -> None:
    q, p = densities(posterior, prior, 7)
    z = q.sample()
    parts = regularizer(estimator).decomposition(latents(q, p, z, dataset_size=100))
    known = (q.log_prob(z) - p.log_prob(z)).mean()
    torch.testing.assert_close(sum(parts), known)
    torch.testing.assert_close(regularizer(estimator)(latents(q, p, z, dataset_size=100)), known)
    weights = (0.3, 6.0, -1.5)
    r = regularizer(estimator, weights)(latents(q, p, z, dataset_size=100))
    torch.testing.assert_close(r, sum(weight * part for weight, part in zip(weights, parts, strict=True)))


@BOTH
@pytest.mark.parametrize(("posterior", "prior"), [("gaussian", "normal"), ("categorical", "categorical")])
def test_with_weights_of_one_r_is_in_expectation_the_kl_divergence(posterior: str, prior: str, estimator: str) -> None:
    q, p = densities(posterior, prior, 7)
    r = regularizer(estimator)
    made = torch.stack([r(latents(q, p, q.sample(), dataset_size=50)) for _ in range(600)])
    error = made.std() / 600**0.5
    assert abs(made.mean() - kl_per_image(q, p, q.sample()).mean()) < 5 * error
    assert error < 0.06 * made.mean()


def loops(q_log_prob: list[list[list[float]]], log_prior: list[float]) -> tuple[float, float, float]:
    """Mutual information, total correlation and dimension-wise KL divergence, of q(z) the mean over all images.

    q_log_prob[i][j][d]: log q(z_i in coordinate d | x_j).
    """
    n, size = len(q_log_prob), len(q_log_prob[0][0])
    information = correlation = divergence = 0.0
    for i in range(n):
        joint, marginals = 0.0, [0.0] * size
        for j in range(n):
            joint += math.exp(sum(q_log_prob[i][j])) / n
            for d in range(size):
                marginals[d] += math.exp(q_log_prob[i][j][d]) / n
        product = sum(math.log(marginal) for marginal in marginals)
        information += (sum(q_log_prob[i][i]) - math.log(joint)) / n
        correlation += (math.log(joint) - product) / n
        divergence += (product - log_prior[i]) / n
    return information, correlation, divergence


@pytest.mark.parametrize(("family", "posterior"), [(Normal, "gaussian"), (Laplace, "laplace")])
def test_with_the_whole_data_set_for_a_batch_it_is_that_of_two_loops(family: type, posterior: str) -> None:
    n, size = 8, 3
    q, p = densities(posterior, "normal", n, size)
    z = q.sample()
    location, scale = q.base_dist.loc, q.base_dist.scale
    by_factor = [
        [[family(location[j, d], scale[j, d]).log_prob(z[i, d]).item() for d in range(size)] for j in range(n)]
        for i in range(n)
    ]
    known = loops(by_factor, Normal(0.0, 1.0).log_prob(z).sum(1).tolist())
    made = regularizer("weighted").decomposition(latents(q, p, z, dataset_size=n))
    # The published weights 1 / (N B) make every density of q(z), joint or of a coordinate, too low by 1 / N.
    of_n = (math.log(n), (size - 1) * math.log(n), -size * math.log(n))
    assert [part.item() for part in made] == pytest.approx([a + b for a, b in zip(known, of_n, strict=True)])


def test_densities_of_the_stratified_weights_are_those_of_two_loops() -> None:
    n, size, whole = 4, 3, 10
    q, p = densities("gaussian", "normal", n, size)
    z = q.sample()
    parts = regularizer("stratified").decomposition(latents(q, p, z, dataset_size=whole))
    joint_mean = product_mean = 0.0
    for i in range(n):
        shares = [1 / (n - 1)] * n
        shares[i] = 1 / whole
        shares[(i + 1) % n] = (whole - n + 1) / (whole * (n - 1))
        each = [Normal(q.mean[j], q.variance[j].sqrt()).log_prob(z[i]) for j in range(n)]
        joint_mean += math.log(sum(share * one.sum().exp() for share, one in zip(shares, each, strict=True))) / n
        product_mean += sum(share * one.exp() for share, one in zip(shares, each, strict=True)).log().sum().item() / n
    assert parts[1].item() == pytest.approx(joint_mean - product_mean)
    assert parts[0].item() == pytest.approx(q.log_prob(z).mean().item() - joint_mean)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_stratified_weights_of_a_row_sum_to_one_and_weighted_ones_to_one_over_n(batch: int) -> None:
    for dataset_size in (batch, batch + 1, 1000, 60_000):
        made = stratified(batch, dataset_size).double().exp()
        assert made.shape == (batch, batch)
        assert made.isfinite().all()
        torch.testing.assert_close(made.sum(1), torch.ones(batch).double())
        if batch > 1:
            torch.testing.assert_close(made.diagonal(), torch.full((batch,), 1 / dataset_size).double())
        theirs = weighted(batch, dataset_size).double().exp().sum(1)
        torch.testing.assert_close(theirs, torch.full((batch,), 1 / dataset_size).double())


def test_a_batch_larger_than_the_data_set_has_weights_all_the_same() -> None:
    """Such is a validation batch, of 1000 images whatever the training set has."""
    assert stratified(7, 3).exp().sum(1).tolist() == pytest.approx([1] * 7)
    assert stratified(7, 3).isfinite().all()


@pytest.mark.parametrize(("batch", "whole"), [(2, 5), (3, 5), (4, 5), (5, 5)])
def test_averaged_over_batches_stratified_weights_give_the_density_of_the_whole_data_set(
    batch: int, whole: int
) -> None:
    densities_of_z = torch.rand(whole, dtype=torch.float64)  # q(z|x_j) of all images at a draw from image 0
    weights = stratified(batch, whole).double().exp()
    estimates = [
        weights[order.index(0)] @ densities_of_z[list(order)]
        for order in itertools.permutations(range(whole), batch)
        if 0 in order
    ]
    torch.testing.assert_close(torch.stack(estimates).mean(), densities_of_z.mean())
    assert torch.stack(estimates).std() > 0.01, "single batches differ"


def aggregate(correlation: float, n: int = 1500, spread: float = 0.1) -> Latents:
    """Codes of variance 1 with a correlation, of narrow posteriors N(m(x), spread I); the means are spread evenly."""
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]]) - spread * torch.eye(2)
    even = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(n)
    means = Normal(0.0, 1.0).icdf(even.clamp(min=1e-6)) @ torch.linalg.cholesky(covariance).T
    raw = torch.cat([means, torch.full_like(means, 0.5 * math.log(spread))], 1)
    q = part_of("posterior", "gaussian", latent_size=2, coordinates=2)(raw)
    p = part_of("prior", "normal", latent_size=2, shape=SHAPE)(None)
    return latents(q, p, q.sample(), dataset_size=n)


@BOTH
@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.9], ids=["independent", "correlated", "copied"])
def test_the_total_correlation_of_a_gaussian_aggregate_is_the_textbooks(correlation: float, estimator: str) -> None:
    """With a correlation of 0.9 and a spread of 0.1 the second mean is a copy of the first, nearly."""
    correlation = min(correlation, 0.899)
    given = aggregate(correlation)
    information, total, divergence = regularizer(estimator).decomposition(given)
    of_n = math.log(1500) if estimator == "weighted" else 0.0
    # 1500 images stand for the population; I(x; z) = log det(Cov z) / 2 - log det(Cov of z given x) / 2.
    determinant = 1 - correlation**2
    assert total.item() - of_n == pytest.approx(-0.5 * math.log(determinant), abs=0.04)
    assert information.item() - of_n == pytest.approx(0.5 * math.log(determinant / 0.1**2), abs=0.08)
    assert divergence.item() + 2 * of_n == pytest.approx(0, abs=0.04)


def words(*groups: Tensor) -> Latents:
    """Certain one-hot codes of the given classes, of 4, of each image and group."""
    code = one_hot(torch.stack(groups, 1), 4).double().flatten(1)
    q = part_of("posterior", "categorical", latent_size=len(groups), coordinates=4 * len(groups), classes=4)(60 * code)
    p = part_of("prior", "categorical", latent_size=len(groups), shape=SHAPE, classes=4).double()(None)
    return latents(q, p, q.sample(), dataset_size=len(code))


def test_a_copied_group_of_a_categorical_code_has_the_total_correlation_log_k_and_another_none() -> None:
    of_n = math.log(16)
    first, second = torch.arange(16) % 4, torch.arange(16) // 4
    # Every image has a code of its own, all codes are equally frequent: all of the divergence is I(x; z).
    information, total, divergence = regularizer("weighted").decomposition(words(first, second))
    known = (math.log(16) + of_n, of_n, -2 * of_n)
    assert (information.item(), total.item(), divergence.item()) == pytest.approx(known, abs=1e-6)
    # Four codes of 16: they tell log 4 of the image, the second group nothing that the first has not told.
    information, total, divergence = regularizer("weighted").decomposition(words(first, first))
    known = (math.log(4) + of_n, math.log(4) + of_n, -2 * of_n)
    assert (information.item(), total.item(), divergence.item()) == pytest.approx(known, abs=1e-6)
    # What is left of a group that says the same of all images is its own divergence from the prior.
    information, total, divergence = regularizer("weighted").decomposition(words(first, 0 * first))
    known = (math.log(4) + of_n, of_n, math.log(4) - 2 * of_n)
    assert (information.item(), total.item(), divergence.item()) == pytest.approx(known, abs=1e-6)


def test_groups_of_a_categorical_code_are_counted_by_two_loops() -> None:
    n = 8
    q, p = densities("categorical", "categorical", n, 2)
    z = q.sample()
    log_shares, classes = q.mean.log().unflatten(-1, (2, 10)), z.unflatten(-1, (2, 10)).argmax(-1)
    by_factor = [[[log_shares[j, g, classes[i, g]].item() for g in range(2)] for j in range(n)] for i in range(n)]
    known = loops(by_factor, [-2 * math.log(10)] * n)
    made = regularizer("weighted").decomposition(latents(q, p, z, dataset_size=n))
    of_n = (math.log(n), math.log(n), -2 * math.log(n))
    assert [part.item() for part in made] == pytest.approx([a + b for a, b in zip(known, of_n, strict=True)])
