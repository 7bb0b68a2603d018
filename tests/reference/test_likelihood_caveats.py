"""`nll` of models with a known p(x): off by at most three standard errors, or with a caveat."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from latentbench.metrics.measurements import Estimate
from latentbench.metrics.negative_log_likelihood import NegativeLogLikelihood

PIXELS, SCALE, IMAGES = 12, 0.5, 360


class LinearModel:
    """x ~ N(W z, s^2 I), z ~ N(0, I), with the posterior as q(z|x) for all images but a share of them.

    For these its mean is `away` standard deviations off in every coordinate, and its scales are `wider` times as large.
    """

    backbone = SimpleNamespace(rows_at_once=lambda most: most)

    def __init__(self, latent_size: int, share: float, away: float = 0.0, wider: float = 1.0) -> None:
        columns = torch.linalg.qr(torch.randn(PIXELS, PIXELS))[0][:, :latent_size]
        self.weight = columns * torch.linspace(1.5, 0.7, latent_size)
        # The columns are orthogonal, so that the posterior has independent coordinates.
        self.scale = (1 + (self.weight / SCALE).square().sum(0)).rsqrt()
        self.marginal = MultivariateNormal(
            torch.zeros(PIXELS), self.weight @ self.weight.T + SCALE**2 * torch.eye(PIXELS)
        )
        self.share, self.away, self.wider = share, away, wider

    def draw(self) -> Tensor:
        """Images of the model, those of which the encoder is wrong first."""
        return self.marginal.sample((IMAGES,)).reshape(IMAGES, 1, 3, 4)

    def prior_distribution(self) -> Independent:
        return Independent(Normal(torch.zeros_like(self.scale), 1.0), 1)

    def posterior_distribution(self, x: Tensor) -> Independent:
        wrong = (self.rank(x) < self.share).float()[:, None]
        mean = x.flatten(1) @ self.weight * self.scale**2 / SCALE**2 + wrong * self.away * self.scale
        return Independent(Normal(mean, self.scale * (1 + wrong * (self.wider - 1))), 1)

    def rank(self, x: Tensor) -> Tensor:
        """A number in (0, 1), which is uniform over images."""
        pixel = Normal(0.0, self.marginal.covariance_matrix[0, 0].sqrt())
        return pixel.cdf(x.flatten(1)[:, 0])

    def pixel_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        return Normal(z @ self.weight.T, SCALE).log_prob(x.flatten(1)).sum(-1)


def nll_and_bias(samples: int, **of_model: Any) -> tuple[Estimate, float]:
    """The estimate, and by how much it is too large."""
    model: Any = LinearModel(**of_model)
    x = model.draw()
    metric = NegativeLogLikelihood(samples=samples, flat_within=0.05)
    for images in x.split(metric.batch_size):
        metric.update(model, images)
    nll = metric.compute()["nll"]
    return nll, nll.value.item() + model.marginal.log_prob(x.flatten(1)).mean().item()


WRONG = [
    {"share": 0.05, "away": 3.0},
    {"share": 0.02, "away": 3.0},
    {"share": 0.02, "away": 5.0},
    {"share": 0.2, "away": 1.5},
    {"share": 0.1, "wider": 0.5},
    {"share": 0.02, "wider": 0.1},
    {"share": 1.0, "wider": 0.7},
    {"share": 1.0, "away": 0.5},
    {"share": 1.0, "away": 2.0},
    {"share": 1.0, "wider": 1.3},
]


@pytest.mark.parametrize("latent_size", [2, 5, 10])
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_it_is_right_within_three_errors_or_has_a_caveat(latent_size: int, wrong: dict[str, float]) -> None:
    nll, bias = nll_and_bias(200, latent_size=latent_size, **wrong)
    assert nll.standard_error is not None
    assert abs(bias) < 3 * nll.standard_error or nll.caveat


@pytest.mark.parametrize(("latent_size", "share"), [(5, 0.05), (10, 0.02)])
def test_an_encoder_that_is_wrong_about_few_images_has_a_caveat(latent_size: int, share: float) -> None:
    nll, bias = nll_and_bias(1000, latent_size=latent_size, share=share, away=4.0)
    assert nll.standard_error is not None
    assert bias > 2 * nll.standard_error, "or nothing is tested here"
    assert "misplaced for" in nll.caveat, "and not too narrow"
    told = float(nll.caveat.split("without them the mean would be ")[1].split(")")[0])
    assert told == pytest.approx(nll.value.item() - bias, abs=nll.standard_error.item())


@pytest.mark.parametrize("latent_size", [2, 5, 10])
@pytest.mark.parametrize("nearly", [{"share": 0.0}, {"share": 1.0, "wider": 1.2}, {"share": 1.0, "away": 0.2}], ids=str)
def test_an_encoder_that_is_nearly_right_has_none(latent_size: int, nearly: dict[str, float]) -> None:
    nll, bias = nll_and_bias(200, latent_size=latent_size, **nearly)
    assert abs(bias) < 0.02
    assert nll.caveat == ""


@pytest.mark.parametrize(("fall", "bound"), [(0.0, "an upper bound that may be loose"), (0.1, "a loose upper bound")])
def test_heavy_tails_of_most_images_alone_do_not_say_that_it_is_loose(fall: float, bound: str) -> None:
    metric = NegativeLogLikelihood(samples=200, flat_within=0.05)
    metric.estimates.append(torch.randn(10))
    metric.shape.append(torch.tensor(8 * [0.9] + 2 * [0.1]))
    metric.decrease.append(torch.full((10,), fall))
    metric.prior_advantage.append(torch.full((10,), -1.0))
    assert metric.looseness_caveat().startswith(f"{bound}: q(z|x) is too narrow for 80.0% of the images")
    assert "without them" not in metric.looseness_caveat(), "two easy images are no estimate for all"


@pytest.mark.parametrize("images", [1, 50])
@pytest.mark.parametrize("above", [False, True])
def test_draws_of_the_prior_count_that_are_better_than_in_one_case_of_twenty_by_chance(
    above: bool, images: int
) -> None:
    # Markov's inequality: one of N positive numbers is 20 N times its mean with a probability of 1 / 20 at most.
    chance = math.log(20 * images)
    metric = NegativeLogLikelihood(samples=200, flat_within=2 * chance)
    metric.estimates.append(torch.randn(images))
    metric.shape.append(torch.zeros(images))
    metric.decrease.append(torch.zeros(images))
    metric.prior_advantage.append(torch.full((images,), chance + (0.01 if above else -0.01)))
    assert ("misplaced for 100.0% of the images" in metric.looseness_caveat()) == above
