"""What tells how far to trust a likelihood, and annealed importance sampling, against closed forms and quadrature."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import expit
from sklearn.cluster import KMeans
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from latentbench.contracts.grids import grid
from latentbench.contracts.images import data_set, few_digits
from latentbench.contracts.options import autoencoder, inputs, linear_autoencoder, part_of, shaken, untrained
from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, REAL
from latentbench.errors import UserError
from latentbench.metrics import negative_log_likelihood
from latentbench.metrics.annealed_importance_sampling import (
    TARGET_ACCEPTANCE,
    AnnealedChains,
    AnnealedImportanceSampling,
    equal_steps,
    hamiltonian_move,
    reflect,
    sigmoidal_schedule,
)
from latentbench.metrics.measurements import Measurements
from latentbench.metrics.negative_log_likelihood import (
    importance_weighted_log_likelihood,
    importance_weights,
    pareto_shape,
)
from latentbench.models.autoencoder import Autoencoder

SCALE = 0.5
PIXELS = 6


def linear_model(columns: Tensor) -> tuple[Autoencoder, Callable[[Tensor], Tensor]]:
    """x ~ N(W z + b, s^2 I), z ~ N(0, I), with its exact log p(x)."""
    model = linear_autoencoder(SCALE, latent_size=columns.shape[1])
    decoder = model.backbone.decoder[0]
    with torch.no_grad():
        decoder.weight.copy_(columns)
        decoder.bias.copy_(torch.randn(PIXELS))
    marginal = MultivariateNormal(decoder.bias.detach(), columns @ columns.T + SCALE**2 * torch.eye(PIXELS))
    return model, lambda x: marginal.log_prob(x.flatten(1))


@torch.no_grad()
def drawn(model: Autoencoder, n: int) -> tuple[Tensor, Tensor]:
    """Latents (n, D) and images of the model itself."""
    z = model.prior_distribution().sample((n,))
    return z, model.sample_pixels(z)


@torch.no_grad()
def set_encoder(model: Autoencoder, *, wider: float | list[float] = 1.0, away: float = 0.0) -> None:
    """q(z|x) = the posterior, for orthogonal columns; its scales times `wider`, its mean `away` in all coordinates."""
    decoder = model.backbone.decoder[0]
    precision = decoder.weight.T @ decoder.weight + SCALE**2 * torch.eye(model.prior.coordinates)
    mean = torch.linalg.solve(precision, decoder.weight.T)
    scale = SCALE * precision.diagonal().rsqrt() * torch.tensor(wider)
    model.head.weight.copy_(torch.cat([mean, torch.zeros_like(mean)]))
    model.head.bias.copy_(torch.cat([away - mean @ decoder.bias, scale.log()]))


def orthogonal(*lengths: float) -> Tensor:
    return torch.linalg.qr(torch.randn(PIXELS, len(lengths)))[0] * torch.tensor(lengths)


def measured(option: str, model: Any, x: Tensor, **settings: Any) -> Measurements:
    made: Measurements = part_of("metric", option, **settings).measure(inputs(x, model=model))
    return made


def annealing(model: Autoencoder, x: Tensor, **settings: int) -> AnnealedChains:
    with torch.no_grad():
        return AnnealedChains(
            model, x, **({"temperatures": 100, "pilot": 50, "chains": 8, "leapfrog_steps": 10} | settings)
        )


# nll: what its weights say of it


@pytest.mark.parametrize("tail", [200, 2000])
@pytest.mark.parametrize("shape", [0.1, 0.5, 0.9, 1.5])
def test_the_pareto_shape_is_that_of_draws_and_of_scipys_maximum_likelihood(shape: float, tail: int) -> None:
    excesses = scipy.stats.genpareto.rvs(shape, size=(tail, 8), random_state=0)
    weights = torch.from_numpy(np.concatenate([-np.sort(-excesses, 0), np.zeros((1, 8))]) + 3)
    made = pareto_shape(weights.log() + 100)  # of any scale
    free = made * (tail + 10) / tail - 5 / tail  # without the prior, which is worth ten weights at 1/2
    theirs = torch.tensor([scipy.stats.genpareto.fit(column, floc=0)[0] for column in excesses.T])
    error = (1 + shape) / tail**0.5  # of the maximum likelihood estimate
    assert ((free - theirs).abs() < 0.4 * error).all()  # both are efficient: they differ by less than they err
    assert (free.mean() - shape).abs() < 4 * error / 8**0.5


def test_equal_weights_have_no_tail_and_few_weights_no_shape() -> None:
    assert torch.equal(pareto_shape(torch.full((50, 3), -7.0).double()), torch.zeros(3).double())
    assert pareto_shape(torch.randn(5, 3).double().sort(0, descending=True).values).isnan().all()


@torch.no_grad()
def test_what_one_pass_says_is_what_all_weights_say(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = linear_model(orthogonal(1.5, 0.7))
    set_encoder(model, wider=0.5)
    _, x = drawn(model, 5)
    monkeypatch.setattr(negative_log_likelihood, "ROWS", 35)  # 7 draws at once: halves begin anywhere in them
    samples = 150
    torch.manual_seed(1)
    made = importance_weights(model, x, samples)
    torch.manual_seed(1)
    q, p = model.posterior_distribution(x), model.prior_distribution()
    z = torch.cat([q.sample((min(7, samples - start),)) for start in range(0, samples, 7)])
    log_w = (model.pixel_log_prob(x, z) + p.log_prob(z) - q.log_prob(z)).double()
    w = log_w.exp()
    torch.testing.assert_close(made.log_likelihood, w.mean(0).log())
    torch.testing.assert_close(made.from_halves, (w[::2].mean(0).log() + w[1::2].mean(0).log()) / 2)
    torch.testing.assert_close(made.effective, w.sum(0) ** 2 / (w**2).sum(0))
    largest = log_w.sort(0, descending=True).values[:31]  # a fifth of them, and one
    torch.testing.assert_close(made.shape, pareto_shape(largest))


@torch.no_grad()
def test_the_effective_number_of_draws_tells_the_error_of_an_estimate() -> None:
    model, _ = linear_model(orthogonal(1.5, 0.7))
    set_encoder(model, wider=1.5)
    _, x = drawn(model, 5)
    runs = [importance_weights(model, x, 400) for _ in range(200)]
    found = torch.stack([run.log_likelihood for run in runs]).std(0)
    told = torch.stack([(1 / run.effective - 1 / 400).sqrt() for run in runs]).mean(0)
    torch.testing.assert_close(told, found, rtol=0.2, atol=0)  # a standard deviation of 200 runs errs by 5 %


@torch.no_grad()
def test_the_fall_from_half_of_the_draws_is_that_between_runs_of_half_and_of_all() -> None:
    model, _ = linear_model(orthogonal(1.5, 0.7))
    set_encoder(model, wider=4.0)
    _, x = drawn(model, 20)
    runs = [(importance_weights(model, x, 16), importance_weights(model, x, 8)) for _ in range(200)]
    told = torch.stack([(all_of.log_likelihood - all_of.from_halves).mean() for all_of, _ in runs])
    found = torch.stack([(all_of.log_likelihood - half.log_likelihood).mean() for all_of, half in runs])
    error = ((told.var() + found.var()) / 200).sqrt()
    assert (told.mean() - found.mean()).abs() < 4 * error
    assert told.mean() > 10 * error, "it can be told"


def test_the_error_of_nll_is_that_of_a_mean_over_images() -> None:
    model, exact = linear_model(orthogonal(1.5, 0.7))
    set_encoder(model)
    _, x = drawn(model, 50)
    found = measured("nll", model, x, samples=30)
    numbers, caveats, errors = found.values, found.caveats, found.standard_errors
    assert errors["nll/test"] == pytest.approx(scipy.stats.sem(exact(x).numpy()), rel=1e-3)
    assert numbers["nll_ess/test"] == pytest.approx(30, rel=1e-4), "all weights are equal"
    assert not caveats


def test_nll_is_of_the_same_draws_whatever_is_told_beside_it() -> None:
    data = few_digits(40)
    model, x = untrained(data, "method=vae"), data.images("test")
    torch.manual_seed(3)
    numbers = measured("nll", model, x, samples=200).values
    torch.manual_seed(3)
    with torch.no_grad():
        total = sum(-importance_weighted_log_likelihood(model, batch, 200).sum() for batch in x.split(20))
    assert numbers["nll/test"] == pytest.approx(float(total) / 40, rel=1e-12)


@pytest.mark.parametrize(
    ("encoder", "columns", "sign"),
    [
        # Draws are so much alike that neither half of them knows better, and their effective number is not small.
        ({"wider": [0.03, 1.0]}, (1.5, 0.7), "heavy tail"),
        ({"wider": 0.1}, (1.5, 0.7), "heavy tail"),
        ({"wider": 200.0}, (1.5, 0.7), "from half of the draws to all"),
        ({"wider": 0.5, "away": 6.0}, (0.01, 0.01), "draws from the prior"),
    ],
    ids=["too narrow in one coordinate", "too narrow", "too wide", "elsewhere"],
)
def test_a_loose_nll_has_a_caveat(encoder: dict[str, Any], columns: tuple[float, ...], sign: str) -> None:
    model, exact = linear_model(orthogonal(*columns))
    set_encoder(model, **encoder)
    _, x = drawn(model, 40)
    found = measured("nll", model, x)
    numbers, caveats = found.values, found.caveats
    looseness = numbers["nll/test"] + exact(x).mean().item()
    assert looseness > 0.1
    assert set(caveats) == {"nll/test", "bits_per_dim/test"}
    assert sign in caveats["nll/test"]
    assert "metric=[nll,ais]" in caveats["nll/test"]
    if sign == "draws from the prior":
        told = float(caveats["nll/test"].split("are better by ")[1].split()[0])
        assert told == pytest.approx(looseness, rel=0.1), "with such a decoder p(x) is what the prior says"


@pytest.mark.parametrize("encoder", [{"wider": 0.8}, {"wider": 1.5}, {"wider": [1.3, 0.8]}, {"away": 0.2}])
def test_a_tight_nll_has_no_caveat(encoder: dict[str, Any]) -> None:
    model, exact = linear_model(orthogonal(1.5, 0.7))
    set_encoder(model, **encoder)
    _, x = drawn(model, 40)
    found = measured("nll", model, x)
    numbers, caveats = found.values, found.caveats
    assert abs(numbers["nll/test"] + exact(x).mean().item()) < 0.02
    assert not caveats


# The moves and the way of annealed importance sampling


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_temperatures_go_from_0_to_1_by_the_logistic_function(count: int) -> None:
    heights = expit(4 * (2 * np.arange(count + 1) / count - 1))
    np.testing.assert_allclose(
        sigmoidal_schedule(count), (heights - heights[0]) / (heights[-1] - heights[0]), atol=1e-12
    )
    assert sigmoidal_schedule(count)[0] == 0
    assert sigmoidal_schedule(count)[-1] == 1


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_temperatures_are_dense_where_the_spread_is_large(count: int) -> None:
    path = np.linspace(0, 1, 2001)
    found = np.array(equal_steps(path.tolist(), torch.tensor(1 / (0.01 + path)), count))
    # The integral of 1 / (0.01 + b) is log(1 + 100 b), of which 0.2 is that of the even path.
    lengths = 0.8 * np.log1p(100 * found) / np.log(101) + 0.2 * found
    np.testing.assert_allclose(lengths, np.linspace(0, 1, count + 1), atol=1e-3)
    assert found[0] == 0
    assert found[-1] == 1
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(equal_steps(path.tolist(), torch.zeros(2001), count), np.linspace(0, 1, count + 1))


TARGETS: dict[str, tuple[Callable[[Tensor], Tensor], Any, float]] = {
    "normal": (lambda z: -0.5 * z[..., 0].square(), scipy.stats.norm, math.inf),
    "logistic": (lambda z: -z[..., 0] - 2 * torch.nn.functional.softplus(-z[..., 0]), scipy.stats.logistic, math.inf),
    "laplace": (lambda z: -z[..., 0].abs(), scipy.stats.laplace, math.inf),
    "normal in a box": (
        lambda z: -0.5 * z[..., 0].square(),
        scipy.stats.truncnorm(-BOX_HALF_WIDTH, BOX_HALF_WIDTH),
        BOX_HALF_WIDTH,
    ),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("is_there", [True, False], ids=["from its own draws", "from one point"])
def test_moves_leave_a_density_as_it_is_and_lead_to_it(target: str, is_there: bool) -> None:
    log_density, known, half_width = TARGETS[target]
    z = torch.zeros(4000, 1, dtype=torch.float64)
    if is_there:
        z = torch.from_numpy(known.rvs(size=(4000, 1), random_state=0))
    acceptances = []
    for _ in range(3 if is_there else 40):
        # A step this long has far too large errors: without the rejections the density would be another one.
        z, acceptance = hamiltonian_move(
            log_density, z, step=torch.tensor([1.6]), leapfrog_steps=3, half_width=half_width
        )
        acceptances.append(acceptance.mean().item())
    assert scipy.stats.kstest(z.flatten().numpy(), known.cdf).pvalue > 1e-3
    assert 0.3 < np.mean(acceptances) < 0.97


def test_walls_reflect_any_number_of_times() -> None:
    z, is_turned = reflect(torch.tensor([0.5, 1.25, -1.5, 3.5, 5.25]), 1.0)
    torch.testing.assert_close(z, torch.tensor([0.5, 0.75, -0.5, -0.5, 0.75]))
    assert is_turned.tolist() == [False, True, True, False, True]


@pytest.mark.parametrize("step", [1e3, 1e30])
def test_a_trajectory_that_diverges_is_rejected(step: float) -> None:
    z = torch.randn(5, 4, 2)
    end, acceptance = hamiltonian_move(
        lambda z: -z.square().sum(-1).square(), z, step=torch.tensor([step]), leapfrog_steps=10
    )
    assert torch.equal(end, z)
    assert torch.equal(acceptance, torch.zeros(5, 4))


@torch.no_grad()
def test_adapted_steps_accept_about_the_target_share_of_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = linear_model(20 * torch.randn(PIXELS, 2))  # posteriors of a fortieth of the prior's scale
    _, x = drawn(model, 4)
    way = annealing(model, x, temperatures=100, pilot=200, chains=50, leapfrog_steps=4)
    accepted = []
    move = way._move

    def noted(z: Tensor, b: float, step: Tensor) -> tuple[Tensor, Tensor]:
        z, acceptance = move(z, b, step)
        accepted.append(acceptance.mean(0))
        return z, acceptance

    monkeypatch.setattr(way, "_move", noted)
    way.lower_bound()
    assert len(accepted) == 99
    late = torch.stack(accepted[30:])  # the first step has to fall to a twentieth
    assert ((late.mean(0) - TARGET_ACCEPTANCE).abs() < 0.15).all()
    assert max(way.steps[1.0]) < 0.1 * min(way.steps[0.0])


@torch.no_grad()
@pytest.mark.parametrize("temperatures", [1, 3])
def test_weights_of_chains_are_unbiased_forwards_and_their_inverses_backwards(temperatures: int) -> None:
    model, exact = linear_model(orthogonal(0.35))  # not too long, or 1/w has no variance
    _, x = drawn(model, 1)
    way = annealing(model, x, temperatures=temperatures, pilot=10, chains=20_000, leapfrog_steps=3)
    forwards = (way.log_weights(way._sample_prior(20_000), way.temperatures) - exact(x)).exp().flatten()
    columns, bias = model.backbone.decoder[0].weight, model.backbone.decoder[0].bias
    precision = (columns.square().sum() / SCALE**2 + 1).item()
    mean = ((x.flatten() - bias) @ columns / SCALE**2 / precision).item()
    posterior = mean + precision**-0.5 * torch.randn(20_000, 1, 1)
    backwards = (exact(x) - way.log_weights(posterior, way.temperatures[::-1])).exp().flatten()
    for ratios in (forwards, backwards):
        error = ratios.std() / len(ratios) ** 0.5
        assert (ratios.mean() - 1).abs() < 4 * error
        assert error < 0.02
        assert ratios.std() > 0.1, "weights are not exact by themselves"


@torch.no_grad()
def test_bounds_of_images_of_the_model_hold_and_meet_with_more_temperatures() -> None:
    model, exact = linear_model(orthogonal(3.0, 1.5))
    z, x = drawn(model, 100)
    gaps = []
    for temperatures in (2, 20, 200):
        way = annealing(model, x, temperatures=temperatures, pilot=30, chains=2, leapfrog_steps=3)
        below, above = exact(x) - way.lower_bound(), way.upper_bound(z) - exact(x)
        for slack in (below, above):
            assert slack.mean() > -3 * slack.std() / 100**0.5
        gaps.append((below + above).mean().item())
    assert gaps[0] > 1
    assert gaps[1] < 0.5 * gaps[0]
    assert gaps[2] < 0.25 * gaps[1], "in theory a tenth"


# The metric


def test_ais_is_exact_for_a_linear_decoder_whatever_the_encoder() -> None:
    model, exact = linear_model(orthogonal(1.5, 0.7))
    _, x = drawn(model, 30)
    found = measured("ais", model, x, chains=16, temperatures=150, pilot=40, leapfrog_steps=2)
    numbers, reasons, caveats, errors = found.values, found.skipped, found.caveats, found.standard_errors
    assert not reasons
    assert not caveats
    # Four seeds err by 0.023 at most.
    assert numbers["ais/test"] == pytest.approx(-exact(x).mean().item(), abs=0.05)
    assert errors["ais/test"] == pytest.approx(scipy.stats.sem(exact(x).numpy()), rel=0.05)
    assert abs(numbers["ais_gap/test"]) < 0.1
    numbers = []
    for encoder in ({}, {"wider": 0.01, "away": 5.0}):
        set_encoder(model, **encoder)
        torch.manual_seed(1)
        numbers.append(measured("ais", model, x, temperatures=20, pilot=10).values)
    assert numbers[0] == numbers[1]
    nll = measured("nll", model, x).values["nll/test"]
    assert nll > found.values["ais/test"] + 5, "which is how bad that encoder is"


@pytest.mark.parametrize("temperatures", [3, 10, 40])
@pytest.mark.parametrize("length", [1.0, 3.0, 10.0])
def test_ais_is_right_within_three_errors_or_says_by_how_much_it_may_be_off(length: float, temperatures: int) -> None:
    model, exact = linear_model(orthogonal(length, length, length, length))
    _, x = drawn(model, 30)
    found = measured("ais", model, x, temperatures=temperatures, pilot=20, leapfrog_steps=2, gap_within=100.0)
    error, gap = found.standard_errors["ais/test"], found.values["ais_gap/test"]
    bias = found.values["ais/test"] + exact(x).mean().item()
    assert bool(found.caveats) == (gap > error)
    assert abs(bias) <= 3 * error + (gap if found.caveats else 0)


def on_a_line(prior: str, **parts: str) -> tuple[Autoencoder, Tensor, Tensor]:
    """A model of one latent, five images, and their log p(x) by quadrature."""
    data = few_digits(5)
    posterior = "beta" if prior == "uniform" else "gaussian"
    chosen = {"posterior": posterior, "regularizer": "kl"} | parts
    model = shaken(autoencoder(data, latent_size=1, prior=prior, **chosen), 0.15)
    torch.nn.init.constant_(model.likelihood.parameter, 0.0)
    x = data.images("test")
    points, volumes = grid(BOX if prior == "uniform" or posterior == "beta" else REAL, 1)
    with torch.no_grad():
        p = model.prior_distribution()
        terms = [
            model.pixel_log_prob(x, z[:, None]).double() + p.log_prob(z).double()[:, None]
            for z in points.float().split(2000)
        ]
    return model, x, (torch.cat(terms) + volumes.log()[:, None]).logsumexp(0)


@torch.no_grad()
@pytest.mark.parametrize("prior", ["laplace", "logistic", "student_t", "mixture", "flow", "vamp", "uniform"])
def test_ais_is_that_of_quadrature_for_any_prior_on_a_line_or_in_a_box(prior: str) -> None:
    model, x, known = on_a_line(prior)
    assert model.cannot("joint_density", binary=False) is None
    way = annealing(model, x, temperatures=60, pilot=30, chains=120, leapfrog_steps=2)
    assert way.lower_bound().mean().item() == pytest.approx(known.mean().item(), abs=0.05)
    alone = model.pixel_log_prob(x, torch.zeros(1, 1, 1)).mean()
    assert (alone - known.mean()).abs() > 0.15, "the latent matters"


def test_ais_needs_no_density_of_the_encoder() -> None:
    model, x, known = on_a_line("normal", posterior="dirac", regularizer="none")
    numbers = measured("ais", model, x, temperatures=60, pilot=30, chains=120, leapfrog_steps=2).values
    assert numbers["ais/test"] == pytest.approx(-known.mean().item(), abs=0.05)


def test_ais_of_a_decoder_that_ignores_the_latent_is_what_it_says_of_the_image() -> None:
    model, exact = linear_model(torch.zeros(PIXELS, 2))
    _, x = drawn(model, 5)
    numbers = measured("ais", model, x, temperatures=7, pilot=5).values
    assert numbers["ais/test"] == pytest.approx(-exact(x).mean().item(), rel=1e-5)
    assert numbers["ais_gap/test"] == pytest.approx(0, abs=1e-5)


def test_ais_of_one_image_by_one_chain_is_a_number_with_no_error_known() -> None:
    model, _ = linear_model(torch.randn(PIXELS, 2))
    _, x = drawn(model, 3)
    found = measured("ais", model, x, images=1, chains=1, temperatures=1, pilot=1, leapfrog_steps=1)
    numbers, errors = found.values, found.standard_errors
    assert math.isfinite(numbers["ais/test"])
    assert math.isfinite(numbers["ais_gap/test"])
    assert math.isnan(errors["ais/test"])


def test_ais_with_too_few_temperatures_has_a_caveat() -> None:
    model, _ = linear_model(10 * torch.randn(PIXELS, 2))
    _, x = drawn(model, 10)
    found = measured("ais", model, x, temperatures=2, pilot=20)
    numbers, caveats = found.values, found.caveats
    assert numbers["ais_gap/test"] > 1
    assert set(caveats) == {"ais/test"}
    assert f"differ by {numbers['ais_gap/test']:.2g} nats" in caveats["ais/test"]
    assert "metric.ais.temperatures=8" in caveats["ais/test"]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["method=gan"], "a GAN defines no density of images"),
        (["method=vae", "likelihood=bernoulli"], "these pixels are grey"),
        (["method=svae"], "latents are in the unit sphere"),
        (["method=categorical_vae"], "latents are in a finite set of code words"),
        (["method=vq_vae"], "latents are in a finite set of code words"),
    ],
)
def test_ais_is_refused_where_there_is_none(overrides: list[str], why: str) -> None:
    data = few_digits()
    model = untrained(data, *overrides)
    found = part_of("metric", "ais").measure(inputs(data.images("test"), model=model, data=data))
    numbers, reasons = found.values, found.skipped
    assert not numbers
    assert set(reasons) == {f"{name}/test" for name in AnnealedImportanceSampling.quantities}
    assert all(why in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("option", "setting", "value"),
    [
        *(("ais", name, value) for name in ("images", "chains", "temperatures", "pilot") for value in (0, 1.5)),
        ("ais", "leapfrog_steps", 0),
        ("ais", "gap_within", -1),
        ("nll", "flat_within", 0),
    ],
)
def test_settings_that_make_no_sense_are_refused(option: str, setting: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"metric\.{option}\.{setting}={value}: give a"):
        part_of("metric", option, **{setting: value})


@torch.no_grad()
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_pixels_drawn_have_the_mean_and_the_noise_of_the_likelihood(likelihood: str) -> None:
    p = part_of("likelihood", likelihood)(torch.randn(3, 1, 2, 2))
    draws = p.sample((4000,))
    assert draws.shape == (4000, 3, 1, 2, 2)
    scale = 1.0 if likelihood == "gaussian" else (p.mean * (1 - p.mean)).sqrt()  # a learned scale starts at 1
    assert ((draws.mean(0) - p.mean).abs() < 5 * scale / 4000**0.5).all()
    torch.testing.assert_close(draws.std(0), torch.as_tensor(scale).expand(3, 1, 2, 2), rtol=0.06, atol=0.01)
    assert p.sample().shape == (3, 1, 2, 2)


# The Parzen window


def parzen_of(centres: Tensor, **settings: Any) -> Measurements:
    data = data_set("digits")
    seen = inputs(data.images("test"), data=data, images={"prior": centres})
    made: Measurements = part_of("metric", "parzen", **settings).measure(seen)
    return made


def test_parzens_grid_is_the_published_one() -> None:
    np.testing.assert_allclose(part_of("metric", "parzen").grid, np.logspace(-1, 0, 10))


def test_parzen_prefers_k_means_centroids_to_real_images() -> None:
    real = data_set("digits").images("train")
    for count in (60, 360):
        means = KMeans(count, n_init=1, random_state=0).fit(real.flatten(1).numpy()).cluster_centers_
        centroids = parzen_of(torch.from_numpy(means).float().reshape(count, 1, 8, 8))
        images = parzen_of(real[:count])
        difference = centroids.values["parzen/prior"] - images.values["parzen/prior"]
        error = math.hypot(centroids.standard_errors["parzen/prior"], images.standard_errors["parzen/prior"])
        assert difference > 3 * error, "as Theis et al. 2016 show, though no sample could be realer"


def test_the_error_of_parzen_is_that_of_a_mean_over_test_images() -> None:
    data = data_set("digits")
    centre = data.images("train")[:1]
    found = parzen_of(centre, bandwidths={"lowest": 0.2, "highest": 0.2, "count": 1})
    numbers, errors = found.values, found.standard_errors
    known = Normal(centre.double(), 0.2).log_prob(data.images("test").double()).flatten(1).sum(1)
    assert numbers["parzen/prior"] == pytest.approx(known.mean().item(), rel=1e-5)
    assert errors["parzen/prior"] == pytest.approx(scipy.stats.sem(known.numpy()), rel=1e-5)


@pytest.mark.parametrize(
    ("lowest", "highest", "count", "end"),
    [(0.1, 1.0, 10, None), (0.3, 1.0, 5, "lowest"), (0.01, 0.1, 5, "highest"), (0.2, 0.2, 1, None)],
)
def test_a_bandwidth_at_the_edge_of_the_grid_has_a_caveat(
    lowest: float, highest: float, count: int, end: str | None
) -> None:
    bandwidths = {"lowest": lowest, "highest": highest, "count": count}
    found = parzen_of(data_set("digits").images("train")[:100], bandwidths=bandwidths)
    numbers, caveats = found.values, found.caveats
    if end is None:
        assert not caveats
    else:
        assert numbers["parzen_bandwidth/prior"] == pytest.approx(bandwidths[end])
        assert f"metric.parzen.bandwidths.{end}" in caveats["parzen/prior"]
