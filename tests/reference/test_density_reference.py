"""Densities of images: likelihoods, importance sampling, ELBO and Parzen windows against other people's."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Independent, MultivariateNormal, Normal
from torch.nn.functional import binary_cross_entropy, l1_loss

from latentbench.contracts.grids import grid
from latentbench.contracts.images import SPLITS, few_digits
from latentbench.contracts.options import autoencoder, inputs, linear_autoencoder, part_of, untrained
from latentbench.distributions.one_hot import GumbelOneHot, RelaxedOneHot
from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH
from latentbench.metrics.distortion import Distortion
from latentbench.metrics.log_sum_exp import log_sum_exp
from latentbench.metrics.negative_log_likelihood import importance_weighted_log_likelihood
from latentbench.metrics.parzen import ParzenWindow, parzen_log_likelihood
from latentbench.metrics.rate import Rate
from latentbench.models.autoencoder import Autoencoder

SCALE = 0.5


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_gaussian_likelihood_is_torchs(scale: float) -> None:
    raw, x = torch.randn(4, 1, 5, 6), torch.rand(4, 1, 5, 6)
    made = part_of("likelihood", "gaussian", scale=scale)(raw)
    torch.testing.assert_close(made.log_prob(x), Independent(Normal(raw, scale), 3).log_prob(x), rtol=1e-5, atol=1e-4)
    assert torch.equal(made.mean, raw)


def test_a_learned_scale_starts_at_one_and_has_the_density_of_the_scale_it_reports() -> None:
    likelihood = part_of("likelihood", "gaussian", scale="learned")
    assert likelihood.facts()["likelihood_scale"] == pytest.approx(1, abs=0.01)
    torch.nn.init.constant_(likelihood.parameter, -0.15)
    raw, x = torch.randn(4, 1, 5, 6), torch.rand(4, 1, 5, 6)
    theirs = Independent(Normal(raw, likelihood.facts()["likelihood_scale"]), 3).log_prob(x)
    torch.testing.assert_close(likelihood(raw).log_prob(x), theirs, rtol=1e-5, atol=1e-4)
    torch.nn.init.constant_(likelihood.parameter, -1e3)
    assert likelihood.facts()["likelihood_scale"] == pytest.approx(math.exp(-6)), "bounded from below"


def test_a_learned_scale_is_that_of_the_errors_after_a_few_hundred_steps() -> None:
    likelihood, errors = part_of("likelihood", "gaussian", scale="learned"), 0.05 * torch.randn(4, 1, 5, 6)
    adam = torch.optim.Adam(likelihood.parameters(), lr=1e-3)
    for _ in range(400):
        adam.zero_grad()
        (-likelihood(torch.zeros_like(errors)).log_prob(errors).mean()).backward()
        adam.step()
    best = errors.square().mean().sqrt().item()  # the maximum of the likelihood
    assert likelihood.facts()["likelihood_scale"] == pytest.approx(best, rel=0.05)


def test_the_bernoulli_likelihood_is_torchs() -> None:
    raw, x = 10 * torch.randn(4, 1, 5, 6), torch.rand(4, 1, 5, 6).round()
    made = part_of("likelihood", "bernoulli")(raw)
    torch.testing.assert_close(made.log_prob(x), Independent(Bernoulli(logits=raw), 3).log_prob(x))
    torch.testing.assert_close(made.mean, Bernoulli(logits=raw).mean)


def test_cross_entropy_and_absolute_error_are_torchs() -> None:
    raw, x = torch.randn(4, 1, 5, 6), torch.rand(4, 1, 5, 6)
    made = part_of("likelihood", "cross_entropy_and_absolute_error")(raw)
    entropy = binary_cross_entropy(raw.sigmoid(), x, reduction="none") + l1_loss(raw.sigmoid(), x, reduction="none")
    torch.testing.assert_close(made.log_prob(x), -entropy.flatten(1).sum(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_continuous_bernoulli_likelihood_is_torchs(dtype: torch.dtype) -> None:
    # Beyond logits of about 15 theirs clips the probability.
    logits = torch.cat([torch.linspace(-15, 15, 301), torch.tensor([-0.2001, -1e-6, 0.0, 1e-7, 0.1999])])
    raw = logits.to(dtype).view(-1, 1, 1, 1).requires_grad_()
    x = torch.rand(raw.shape, dtype=dtype)
    made = part_of("likelihood", "continuous_bernoulli")(raw)
    theirs = ContinuousBernoulli(logits=logits.double().view(-1, 1, 1, 1), lims=(0.4999, 0.5001))
    torch.testing.assert_close(made.log_prob(x).double(), theirs.log_prob(x.double()).flatten(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.mean.double(), theirs.mean, rtol=1e-5, atol=1e-5)
    (slope,) = torch.autograd.grad(made.log_prob(x).sum(), raw)
    torch.testing.assert_close(slope.double(), x.double() - theirs.mean, rtol=1e-5, atol=1e-5)


def test_the_continuous_bernoulli_likelihood_is_an_exponential_density_far_from_logit_0() -> None:
    raw = torch.tensor([-1e5, -500.0, -90.0, -79.0, 81.0, 200.0, 1e5]).view(-1, 1, 1, 1).requires_grad_()
    x = torch.rand(raw.shape)
    made = part_of("likelihood", "continuous_bernoulli")(raw).log_prob(x)
    torch.testing.assert_close(made, (x * raw - raw.relu() + raw.abs().log()).flatten())
    (slope,) = torch.autograd.grad(made.sum(), raw)
    torch.testing.assert_close(slope, x - (raw > 0).float() + 1 / raw)


def test_the_gradient_of_the_continuous_bernoulli_likelihood_is_that_of_its_values() -> None:
    raw = torch.linspace(-3, 3, 12, dtype=torch.float64).view(3, 1, 1, 2, 2).requires_grad_()
    x = torch.rand(5, 1, 2, 2, dtype=torch.float64)  # five images for each decoded latent
    assert torch.autograd.gradcheck(lambda raw: part_of("likelihood", "continuous_bernoulli")(raw).log_prob(x), (raw,))


def test_draws_of_the_continuous_bernoulli_likelihood_have_its_moments() -> None:
    logits = torch.tensor([-40.0, -3.0, -1e-5, 0.0, 0.5, 8.0])
    made = part_of("likelihood", "continuous_bernoulli")(logits.view(-1, 1, 1, 1))
    drawn = made.sample([20_000]).flatten(1)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    expected = ContinuousBernoulli(logits=logits.double(), lims=(0.4999, 0.5001))
    scale = expected.stddev.clamp(min=0.02)
    assert ((drawn.double().mean(0) - made.mean.flatten()).abs() < 4 * scale / math.sqrt(20_000)).all()
    assert ((drawn.double().std(0) - expected.stddev)[1:].abs() < 0.02 * scale[1:]).all()


def linear_model(columns: Tensor) -> tuple[Autoencoder, Tensor, Tensor]:
    """A linear-Gaussian model, images drawn of it and their exact log-likelihood under N(b, W W^T + s^2 I)."""
    model = linear_autoencoder(SCALE)
    decoder = model.backbone.decoder[0]
    with torch.no_grad():
        decoder.weight.copy_(columns)
        decoder.bias.copy_(torch.randn(6))
    marginal = MultivariateNormal(decoder.bias, columns @ columns.T + SCALE**2 * torch.eye(6))
    x = marginal.sample((5,))
    return model, x.reshape(5, 1, 1, 6), marginal.log_prob(x).detach()


@torch.no_grad()
def set_encoder(model: Autoencoder, mean: Tensor, offset: Tensor, scale: Tensor) -> None:
    """q(z|x) = N(mean x + offset, diag(scale^2))."""
    head = model.head
    head.weight.copy_(torch.cat([mean, torch.zeros_like(mean)]))
    head.bias.copy_(torch.cat([offset, scale.log()]))


def test_nll_is_exact_with_the_true_posterior_however_few_or_many_samples() -> None:
    columns = torch.linalg.qr(torch.randn(6, 2))[0] * torch.tensor([1.5, 0.7])  # orthogonal: a diagonal posterior
    model, x, exact = linear_model(columns)
    precision = columns.T @ columns + SCALE**2 * torch.eye(2)
    mean = torch.linalg.solve(precision, columns.T)
    set_encoder(model, mean, -mean @ model.backbone.decoder[0].bias, SCALE * precision.diagonal().rsqrt())
    for samples in (1, 7, 2500):  # one, less than a chunk, several chunks with a partial last one
        made = importance_weighted_log_likelihood(model, x, samples)
        # All weights are equal: what is left is single precision.
        torch.testing.assert_close(made.float(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 2.0], ids=["prior", "too wide"])
def test_nll_reaches_the_exact_value_with_an_encoder_that_ignores_the_image(scale: float) -> None:
    model, x, exact = linear_model(torch.randn(6, 2))
    set_encoder(model, torch.zeros(2, 6), torch.zeros(2), torch.full((2,), scale))
    estimates = torch.stack([importance_weighted_log_likelihood(model, x, 20_000) for _ in range(8)])
    # Eight runs tell the error of their mean; the bias of the logarithm is half a variance.
    variance = estimates.var(0)
    assert ((estimates.mean(0) - exact).abs() < 5 * (variance / 8).sqrt() + variance).all()
    assert variance.max() < 0.05, "the test can tell a missing term"


def test_nll_is_approached_from_below_with_more_samples() -> None:
    model, x, exact = linear_model(torch.randn(6, 2))
    set_encoder(model, torch.zeros(2, 6), torch.zeros(2), torch.ones(2))
    bounds = [
        torch.stack([importance_weighted_log_likelihood(model, x, samples) for _ in range(60)]).mean().item()
        for samples in (1, 10, 100, 1000)
    ]
    assert bounds == sorted(bounds)
    assert bounds[-1] < exact.mean().item() + 0.05


def test_the_nll_metric_is_the_mean_over_images_in_nats_and_in_bits_per_pixel() -> None:
    columns = torch.linalg.qr(torch.randn(6, 2))[0]
    model, x, exact = linear_model(columns)
    set_encoder(model, columns.T / (1 + SCALE**2), -columns.T @ model.backbone.decoder[0].bias / (1 + SCALE**2),
                torch.full((2,), SCALE / (1 + SCALE**2) ** 0.5))  # fmt: skip
    found = part_of("metric", "nll", samples=3).measure(inputs(x, model=model))
    numbers, reasons = found.values, found.skipped
    assert not reasons
    assert numbers["nll/test"] == pytest.approx(-exact.mean().item(), rel=1e-4)
    assert numbers["bits_per_dim/test"] == pytest.approx(-exact.mean().item() / 6 / math.log(2), rel=1e-4)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["method=vae", "likelihood=bernoulli"], "these pixels are grey"),
        (["method=ae"], "is a deterministic encoder and has no density of latents"),
        (["method=gan"], "a GAN defines no density of images"),
    ],
)
def test_nll_is_refused_where_there_is_none(overrides: list[str], why: str) -> None:
    data = few_digits()
    model = untrained(data, *overrides)
    seen = inputs(data.images("test"), model=model, data=data)
    found = part_of("metric", "nll", samples=3).measure(seen)
    numbers, reasons = found.values, found.skipped
    assert not numbers
    assert set(reasons) == {"nll/test", "bits_per_dim/test", "nll_ess/test"}
    assert all(why in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("posterior", "prior", "words"),
    [
        ("gaussian", "hypersphere", "outside of the unit sphere"),
        ("gaussian", "categorical", "outside of a finite set of code words"),
        ("flow", "hypersphere", "outside of the unit sphere"),
    ],
)
def test_densities_of_different_spaces_make_no_rate_and_no_nll(posterior: str, prior: str, words: str) -> None:
    data = few_digits()
    model = autoencoder(data, posterior=posterior, prior=prior, regularizer="mmd")
    seen = inputs(data.images("test"), model=model, data=data)
    for metric in (Rate(samples=3), part_of("metric", "nll", samples=3)):
        found = metric.measure(seen)
        numbers, reasons = found.values, found.skipped
        assert not numbers
        assert all(words in reason for reason in reasons.values())
    assert "kl" not in model.facts()


@torch.no_grad()
@pytest.mark.parametrize("posterior", ["gaussian", "laplace", "student_t", "beta"])
def test_a_prior_on_a_box_has_an_nll_and_an_infinite_rate_for_what_reaches_beyond(posterior: str) -> None:
    data = few_digits(5)
    model = autoencoder(data, latent_size=1, posterior=posterior, prior="uniform", regularizer="mmd")
    x = data.images("test")
    points, volumes = grid(BOX, 1)
    densities = torch.cat([model.pixel_log_prob(x, z[:, None].expand(-1, 5, 1)) for z in points.float().split(2000)])
    known = (densities.double() + (volumes / (2 * BOX_HALF_WIDTH)).log()[:, None]).logsumexp(0)
    made = importance_weighted_log_likelihood(model, x, 20_000)
    # Draws in the box are weighed like any others, those beyond with 0: about half of them, in 20,000 draws.
    torch.testing.assert_close(made, known, rtol=0, atol=0.05)
    seen = inputs(x, model=model, data=data)
    assert "nll/test" in part_of("metric", "nll", samples=50).measure(seen).values
    found = Rate(samples=3).measure(seen)
    numbers, reasons = found.values, found.skipped
    if posterior == "beta":
        assert not reasons
    else:
        assert not numbers
        assert "outside of a box" in reasons["rate/test"]
        assert "infinite" in reasons["rate/test"]


def direct_elbo(model: Autoencoder, x: Tensor, samples: int) -> np.ndarray:
    """log p(x|z) + log p(z) - log q(z|x) for draws of q, (samples, images), by numpy and scipy."""
    with torch.no_grad():
        mean, log_scale = (t.double().numpy() for t in model.head(model.backbone.encode(x)).chunk(2, 1))
        noise = np.random.default_rng(0).standard_normal((samples, *mean.shape))
        z = mean + np.exp(log_scale) * noise
        raw = model.backbone.decode(torch.from_numpy(z).float().flatten(0, 1)).double().numpy()
    scale = model.likelihood.facts()["likelihood_scale"]
    pixels = scipy.stats.norm.logpdf(x.numpy(), raw.reshape(samples, *x.shape), scale)
    latents = scipy.stats.norm.logpdf(z) - scipy.stats.norm.logpdf(z, mean, np.exp(log_scale))
    return pixels.sum((2, 3, 4)) + latents.sum(2)


def test_rate_and_distortion_add_up_to_minus_the_elbo_and_nll_is_below() -> None:
    data = few_digits(20)
    model = untrained(data, "method=vae", "likelihood=gaussian")
    torch.nn.init.constant_(model.likelihood.parameter, -0.2)
    x = data.images("test")
    seen = inputs(x, model=model, data=data)
    numbers = {}
    for metric in (Rate(samples=500), Distortion(samples=500), part_of("metric", "nll", samples=500)):
        numbers |= metric.measure(seen).values
    draws = direct_elbo(model, x, 500)
    # Both have 500 draws for each of 20 images, of log-ratios at least as variable as the metrics' terms.
    error = np.sqrt((draws.var(0) / 500).sum()) / 20
    assert abs(numbers["rate/test"] + numbers["distortion/test"] + draws.mean()) < 5 * 2**0.5 * error
    assert error < 0.02 * abs(draws.mean())
    assert numbers["nll/test"] < numbers["rate/test"] + numbers["distortion/test"]


def test_the_log_of_a_sum_of_exponentials_is_torchs() -> None:
    values = torch.randn(4, 5, 3, dtype=torch.float64) * torch.tensor([1.0, 100.0, 1e4, 1e30]).view(-1, 1, 1)
    values[0, 2] = -math.inf
    for dim in (0, 1):
        torch.testing.assert_close(log_sum_exp(values, dim), values.logsumexp(dim), rtol=1e-15, atol=0)
    assert log_sum_exp(torch.full((2, 3), -math.inf, dtype=torch.float64), 1).exp().eq(0).all()


def test_the_parzen_window_is_sklearns_kernel_density() -> None:
    points, centres = torch.rand(700, 5), torch.rand(30, 5)  # several chunks of points
    bandwidths = torch.tensor([0.02, 0.2, 2.0])
    made = parzen_log_likelihood(points, centres, bandwidths)
    for row, bandwidth in zip(made, bandwidths.tolist(), strict=True):
        theirs = KernelDensity(kernel="gaussian", bandwidth=bandwidth).fit(centres.double().numpy())
        np.testing.assert_allclose(row, theirs.score_samples(points.double().numpy()), rtol=1e-6, atol=1e-6)


def test_the_parzen_bandwidth_is_the_best_of_the_grid_on_so_many_validation_images() -> None:
    data = few_digits(60)
    metric = ParzenWindow(bandwidths={"lowest": 0.05, "highest": 1.0, "count": 61}, validation_images=7)
    given = {"prior": data.images("train"), "real": data.images("test")}
    numbers = metric.measure(inputs(data.images("test"), data=data, images=given)).values
    rows = {split: data.images(split).flatten(1).double().numpy() for split in SPLITS}
    windows = [KernelDensity(bandwidth=h).fit(rows["train"]) for h in np.geomspace(0.05, 1.0, 61)]

    def best_on(images: np.ndarray) -> KernelDensity:
        return max(windows, key=lambda window: window.score(images))

    best = best_on(rows["validation"][:7])
    assert best not in (windows[0], windows[-1], best_on(rows["validation"]), best_on(rows["test"])), "it can be told"
    assert numbers["parzen_bandwidth/prior"] == pytest.approx(best.bandwidth)
    assert numbers["parzen/prior"] == pytest.approx(best.score_samples(rows["test"]).mean(), rel=1e-5)
    assert {key.split("/")[1] for key in numbers} == {"prior"}, "real images choose the bandwidth"


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_draws_of_categories_are_one_hot_with_the_gradients_of_the_relaxation(temperature: float) -> None:
    logits = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 12, dtype=torch.float64)
    torch.manual_seed(0)
    drawn = GumbelOneHot(logits, temperature).rsample()
    assert torch.equal(drawn.detach().view(5, 3, 4).sort(-1).values, torch.tensor([0.0, 0, 0, 1]).expand(5, 3, 4))
    (found,) = torch.autograd.grad((drawn * weights).sum(), logits)
    torch.manual_seed(0)
    noise = -torch.empty_like(logits).exponential_().log()
    soft = ((logits.detach() + noise) / temperature).softmax(-1)
    assert torch.equal(soft.argmax(-1), drawn.view(5, 3, 4).argmax(-1))
    towards = weights.view(5, 3, 4)
    derivative = soft * (towards - (soft * towards).sum(-1, keepdim=True)) / temperature  # of this softmax
    torch.testing.assert_close(found, derivative)
    torch.manual_seed(0)
    relaxed = RelaxedOneHot(logits, temperature)
    torch.testing.assert_close(relaxed.rsample(), soft.flatten(1))
    assert torch.equal(relaxed.sample().unique(), torch.tensor([0.0, 1])), "measured with one-hot draws"
