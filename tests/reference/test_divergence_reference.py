"""KL divergences against quadrature, textbook formulas and Monte Carlo, from the mildest parameters to extreme ones."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import one_hot

from latentbench.contracts.grids import grid
from latentbench.contracts.options import encoder, options, part_of
from latentbench.distributions.factorised import Factorised
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers import kullback_leibler
from latentbench.regularizers.base import Latents
from latentbench.regularizers.kullback_leibler import KullbackLeibler, has_closed_form, kl_per_image

SHAPE = (1, 2, 2)
ALL_PAIRS = list(itertools.product(options("posterior"), options("prior")))


def parts(posterior: str, prior: str, latent_size: int) -> tuple[Posterior, Prior]:
    few = {"components": 5} if prior in ("vamp", "mixture") else {}
    made = part_of("prior", prior, latent_size=latent_size, shape=SHAPE, **few)
    return part_of("posterior", posterior, latent_size=latent_size, coordinates=made.coordinates), made


def reason(posterior: str, prior: str) -> str | None:
    """Why the KL divergence of the two is refused."""
    q, p = parts(posterior, prior, 1)
    return KullbackLeibler(latent_size=p.coordinates, free_bits=0, samples=1).refuses(posterior=q, prior=p)


PAIRS = [pair for pair in ALL_PAIRS if reason(*pair) is None]
CLOSED = {
    ("beta", "uniform"),
    ("categorical", "categorical"),
    ("gumbel_softmax", "categorical"),
    ("gaussian", "laplace"),
    ("gaussian", "normal"),
    ("gaussian_full", "normal"),
    ("laplace", "laplace"),
    ("laplace", "normal"),
    ("logistic", "normal"),
    ("power_spherical", "hypersphere"),
    ("student_t", "normal"),
    ("von_mises_fisher", "hypersphere"),
}


def densities(
    posterior: str, prior: str, latent_size: int, shift: float = 0.3, images: int = 2
) -> tuple[Distribution, Distribution]:
    """q(z|x) of some images and p(z), in double precision and away from first weights."""
    made_q, made_p = parts(posterior, prior, latent_size)
    encode = encoder(made_q).double()
    with torch.no_grad():
        for weight in [*made_p.double().parameters(), *encode.parameters()]:
            weight.add_(shift * torch.randn_like(weight))
    return encode(torch.rand(images, *SHAPE, dtype=torch.float64)), made_p(encode)


def latents(q: Distribution, p: Distribution, z: Tensor) -> Latents:
    return Latents(
        x=torch.zeros(len(z), *SHAPE),
        z=z,
        q=q,
        p=p,
        decoder=torch.nn.Identity(),
        decode=torch.nn.Identity(),
        dataset_size=len(z),
    )


def closed_form_of(raw: Tensor, posterior: str, prior: str, latent_size: int) -> Tensor:
    """KL(q || p), (B,), of what the posterior makes of raw numbers (B, inputs)."""
    made_q, made_p = parts(posterior, prior, latent_size)
    q, p = made_q.to(raw)(raw), made_p.to(raw)(None)
    assert has_closed_form(q, p)
    return kl_per_image(q, p, q.sample())


def test_these_pairs_have_a_closed_form_and_no_others() -> None:
    assert {pair for pair in PAIRS if has_closed_form(*densities(*pair, 2))} == CLOSED


def test_pairs_whose_divergence_is_infinite_are_refused() -> None:
    infinite = set()
    for posterior, prior in itertools.product(["gaussian", "laplace", "logistic", "student_t"], options("prior")):
        q, p = densities(posterior, prior, 2)
        if q.event_shape == p.event_shape and has_closed_form(q, p) and kl_divergence(q, p).isinf().any():
            infinite.add((posterior, prior))
    # torch knows that these two are; of the others nothing is known and their supports decide.
    assert infinite == {("gaussian", "uniform"), ("laplace", "uniform")}
    for pair in itertools.product(["gaussian", "logistic", "flow"], ["uniform", "hypersphere", "categorical"]):
        assert "infinite" in (reason(*pair) or ""), pair


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_kl_is_the_integral_over_a_space_of_one_dimension(posterior: str, prior: str) -> None:
    q, p = densities(posterior, prior, 1)
    # 100 is where a Student's t leaves less than 1e-5 of its second moment. At a box's walls the density has poles.
    coarse = 5e-3 if posterior == "beta" else 1e-4
    points, volumes = grid(parts(posterior, prior, 1)[0].space, 1, reach=100, classes=10)
    log_q, log_p = q.log_prob(points[:, None]).detach(), p.log_prob(points[:, None]).detach()
    assert (volumes @ log_q.exp()).tolist() == pytest.approx([1, 1], abs=coarse), "the grid covers q"
    known = volumes @ (log_q.exp() * (log_q - log_p))
    made = kl_per_image(q, p, q.sample((10_000,))).detach()
    if (posterior, prior) in CLOSED:
        assert made.tolist() == pytest.approx(known.tolist(), rel=2 * coarse, abs=4 * coarse)
    else:
        error = made.std(0) / 10_000**0.5
        assert (made.mean(0) - known).abs().max() < 5 * error.max()
        assert error.max() < 0.07 * known.max().clamp(min=1), "the test can tell a wrong formula"


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_kl_is_the_mean_log_ratio_in_several_dimensions_and_r_its_mean_over_images(posterior: str, prior: str) -> None:
    q, p = densities(posterior, prior, 5)
    draws = q.sample((10_000 if (posterior, prior) in CLOSED else 100,))
    ratios, made = q.log_prob(draws) - p.log_prob(draws), kl_per_image(q, p, draws)
    if (posterior, prior) in CLOSED:
        error = 5 * (ratios.std(0) / 10_000**0.5).max().item()
        assert (made - ratios.mean(0)).abs().max() < error
    else:
        torch.testing.assert_close(made, ratios)
    z = q.sample()
    r = KullbackLeibler(latent_size=5, free_bits=0, samples=1)(latents(q, p, z))
    torch.testing.assert_close(r, kl_per_image(q, p, z).mean())


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_a_step_computes_the_closed_form_once(prior: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(kullback_leibler, "kl_divergence", lambda *pair: calls.append(pair) or kl_divergence(*pair))
    q, p = densities("gaussian", prior, 3)
    KullbackLeibler(latent_size=3, free_bits=0, samples=10)(latents(q, p, q.sample()))
    assert len(calls) == 1


def test_more_draws_make_a_kl_without_closed_form_less_noisy_and_leave_its_mean() -> None:
    q, p = densities("gaussian", "logistic", 5)
    one, ten = (
        torch.stack(
            [KullbackLeibler(latent_size=5, free_bits=0, samples=n)(latents(q, p, q.sample())) for _ in range(400)]
        )
        for n in (1, 10)
    )
    one, ten = one.detach(), ten.detach()
    assert (one.mean() - ten.mean()).abs() < 5 * one.std() / 400**0.5
    # The ratio of two estimates of a standard deviation from 400 values is known to some 5 %.
    assert ten.std() == pytest.approx(one.std() / 10**0.5, rel=0.25)


def test_a_closed_form_draws_nothing() -> None:
    q, p = densities("gaussian", "normal", 5)
    z, state = q.sample(), torch.get_rng_state()
    KullbackLeibler(latent_size=5, free_bits=0, samples=10)(latents(q, p, z))
    assert torch.equal(torch.get_rng_state(), state)


def test_kl_of_a_gaussian_from_the_standard_normal_is_the_textbooks() -> None:
    mean, scale = torch.randn(7, 5), torch.rand(7, 5) + 0.1
    p = part_of("prior", "normal", latent_size=5, shape=SHAPE)(None)
    known = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum(1)
    torch.testing.assert_close(kl_per_image(Independent(Normal(mean, scale), 1), p, mean), known)
    at_the_prior = Independent(Normal(torch.zeros(7, 5), torch.ones(7, 5)), 1)
    assert not kl_per_image(at_the_prior, p, mean).any(), "nothing where q = p"


def log_normal(t: float) -> float:
    return -0.5 * t * t - 0.5 * math.log(2 * math.pi)


def log_laplace(t: float) -> float:
    return -abs(t) - math.log(2)


def log_logistic(t: float) -> float:
    return -abs(t) - 2 * math.log1p(math.exp(-abs(t)))


def log_student_t(t: float) -> float:
    """With the 5 degrees of freedom of conf/."""
    return math.lgamma(3) - math.lgamma(2.5) - 0.5 * math.log(5 * math.pi) - 3 * math.log1p(t * t / 5)


def log_laplace_of_variance_one(z: float) -> float:
    return log_laplace(z * 2**0.5) + 0.5 * math.log(2)


STANDARD = {"gaussian": log_normal, "laplace": log_laplace, "logistic": log_logistic, "student_t": log_student_t}
PRIORS = {"normal": log_normal, "laplace": log_laplace_of_variance_one}


def integral_over_the_line(posterior: str, prior: str, location: float, scale: float) -> float:
    """The KL divergence by quadrature in u, z = location + scale sinh(u)."""

    def integrand(u: float) -> float:
        log_q = STANDARD[posterior](math.sinh(u))
        log_ratio = log_q - math.log(scale) - PRIORS[prior](location + scale * math.sinh(u))
        return math.exp(log_q) * log_ratio * math.cosh(u)

    # Densities have kinks at most where z is the location or 0.
    ends = sorted({-25.0, -3.0, 0.0, math.asinh(-location / scale), 3.0, 25.0})
    return sum(scipy.integrate.quad(integrand, a, b, epsrel=1e-9, limit=200)[0] for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize(("posterior", "prior"), sorted(pair for pair in CLOSED if pair[0] in STANDARD))
def test_kl_of_locations_and_scales_however_extreme_is_that_of_quadrature(posterior: str, prior: str) -> None:
    cases = list(itertools.product([0.0, 5.0], [1e-3, 1.0, 1e3]))
    known = [integral_over_the_line(posterior, prior, *case) for case in cases]
    raw = torch.tensor([[location, math.log(scale)] for location, scale in cases], dtype=torch.float64)
    made = closed_form_of(raw, posterior, prior, 1)
    assert made.tolist() == pytest.approx(known, rel=1e-7, abs=1e-8)
    # Single precision has 7 digits, of numbers up to the KL divergence itself or its logarithms of about 10.
    assert closed_form_of(raw.float(), posterior, prior, 1).tolist() == pytest.approx(known, rel=1e-5, abs=1e-5)
    # The divergence is a sum over coordinates.
    row = torch.cat([raw[:, 0], raw[:, 1]])[None]
    torch.testing.assert_close(closed_form_of(row, posterior, prior, 6), made.sum()[None])


def test_kl_of_beta_distributions_however_extreme_is_that_of_quadrature() -> None:
    cases = list(itertools.product([1e-2, 1.0, 30.0, 1e4], repeat=2))
    known = []
    for a, b in cases:
        # In t = logit of the unit interval the density b^a (1 - b)^b has no poles; its tails are as long as 1 / a.
        width = 1 / math.sqrt(a * b / (a + b))
        u = np.linspace(-14, 14, 200_001)
        t = math.log(a / b) + width * np.sinh(u)
        log_share, log_rest = -np.logaddexp(0, -t), -np.logaddexp(0, t)
        log_mass = a * log_share + b * log_rest + np.log(width * np.cosh(u))
        log_total = scipy.special.logsumexp(log_mass) + math.log(u[1] - u[0])
        weights = scipy.special.softmax(log_mass)
        known.append(weights @ ((a - 1) * log_share + (b - 1) * log_rest) - log_total)
    raw = torch.tensor(cases, dtype=torch.float64).log()
    assert closed_form_of(raw, "beta", "uniform", 1).tolist() == pytest.approx(known, rel=1e-7, abs=1e-8)
    # The encoder's logarithms have 7 digits, of up to 9.2, and lgamma multiplies their errors by 1e4 and log 1e4.
    assert closed_form_of(raw.float(), "beta", "uniform", 1).tolist() == pytest.approx(known, rel=1e-5, abs=1e-5)
    assert known[cases.index((1.0, 1.0))] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_kl_of_full_gaussians_is_torchs_of_two_full_gaussians(size: int) -> None:
    raw = torch.randn(40, 2 * size + size * (size - 1) // 2, dtype=torch.float64)
    raw[:, size : 2 * size] = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64).log()[torch.randint(3, (40, size))]
    raw[:20, :size] = 5
    raw[10:30, 2 * size :] *= 5  # nearly singular
    q = parts("gaussian_full", "normal", size)[0](raw)
    p = MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double())
    known = kl_divergence(MultivariateNormal(raw[:, :size], scale_tril=q.scale_tril), p)
    torch.testing.assert_close(closed_form_of(raw, "gaussian_full", "normal", size), known, rtol=1e-9, atol=1e-9)
    loc, scale = torch.randn(2, size, dtype=torch.float64)
    elsewhere = kl_divergence(MultivariateNormal(raw[:, :size], scale_tril=q.scale_tril),
                              MultivariateNormal(loc, torch.diag(scale.exp() ** 2)))  # fmt: skip
    torch.testing.assert_close(kl_divergence(q, Factorised(Normal(loc, scale.exp()))), elsewhere)
    standard_deviations = q.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    torch.testing.assert_close(standard_deviations, raw[:, size : 2 * size].exp())


@pytest.mark.parametrize("size", [2, 9])
def test_a_full_gaussians_entries_below_the_diagonal_shrink_with_the_root_of_the_dimension(size: int) -> None:
    outputs = torch.tensor([-1e3, -3.0, 0.0, 0.5, 10.0, 1e3], dtype=torch.float64)
    raw = torch.zeros(len(outputs), 2 * size + size * (size - 1) // 2, dtype=torch.float64)
    raw[:, size : 2 * size] = torch.randn(size)
    raw[:, -(size - 1)] = outputs  # of the last row: its first entry
    covariance = parts("gaussian_full", "normal", size)[0](raw).covariance_matrix
    scales = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    made = covariance[:, -1, 0] / (scales[:, -1] * scales[:, 0])
    # Rows (1, 0) and (a, 1) of lengths 1 and (1 + a^2)^(1/2).
    a = outputs.clamp(-10, 10) / math.sqrt(size)
    torch.testing.assert_close(made, a / (1 + a**2).sqrt())


@pytest.mark.parametrize("reach", [0.0, 1.0, 50.0])
def test_kl_of_a_categorical_code_is_the_sum_over_its_words(reach: float) -> None:
    logits = reach * (2 * torch.rand(7, 30, dtype=torch.float64) - 1)
    shares = scipy.special.softmax(logits.reshape(7, 3, 10).numpy(), axis=-1)
    known = (scipy.special.xlogy(shares, shares) + shares * math.log(10)).sum((1, 2))
    assert closed_form_of(logits, "categorical", "categorical", 3).tolist() == pytest.approx(known, abs=1e-10)
    single = closed_form_of(logits.float(), "categorical", "categorical", 3).tolist()
    assert single == pytest.approx(known, rel=1e-5, abs=1e-5)


def test_a_certain_code_word_is_log_k_away_from_the_uniform_prior() -> None:
    logits = 100 * one_hot(torch.randint(10, (7, 3)), 10).flatten(1) - 50.0
    made = closed_form_of(logits, "categorical", "categorical", 3)
    assert made.tolist() == pytest.approx([3 * math.log(10)] * 7)
    q, p = densities("vector_quantized", "categorical", 3)
    quantized = parts("vector_quantized", "categorical", 3)[0].double().adapt_prior(p)
    assert kl_divergence(q, quantized).tolist() == pytest.approx([3 * math.log(10)] * 2)


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_whatever_the_encoder_says_divergence_and_gradients_are_finite(posterior: str, prior: str) -> None:
    made_q, made_p = parts(posterior, prior, 3)
    encode = encoder(made_q)
    extremes = torch.tensor([-50.0, -5.0, 0.0, 5.0, 50.0])
    raw = extremes[torch.randint(5, (200, made_q.inputs))].requires_grad_()
    q, p = made_q(raw), made_p(encode)
    z = q.rsample()
    r = kl_per_image(q, p, z)
    assert r.isfinite().all()
    (gradient,) = torch.autograd.grad(r.sum(), raw)
    assert gradient.isfinite().all()
    if (posterior, prior) in CLOSED:
        assert r.min() > -1e-4, "never below 0 but for rounding"


@pytest.mark.parametrize("posterior", ["gaussian", "categorical"])
def test_free_bits_are_the_least_that_a_coordinate_counts_averaged_over_images(posterior: str) -> None:
    prior = "normal" if posterior == "gaussian" else "categorical"
    q, p = densities(posterior, prior, 4, shift=1.0, images=3)
    if posterior == "gaussian":
        by_factor = 0.5 * (q.mean**2 + q.variance - 1 - q.variance.log())
    else:
        shares = q.mean.unflatten(-1, (4, 10))
        by_factor = (shares * (shares * 10).log()).sum(-1)
    means = by_factor.mean(0).tolist()
    z = q.sample()
    for free_bits in [1e-3, *(m * 1.01 for m in means), 100.0]:
        made = KullbackLeibler(latent_size=4, free_bits=free_bits, samples=1)(latents(q, p, z))
        assert made.item() == pytest.approx(sum(max(free_bits, m) for m in means))
    none = KullbackLeibler(latent_size=4, free_bits=0, samples=1)(latents(q, p, z))
    assert none.item() == pytest.approx(sum(means))


def test_free_bits_of_a_pair_without_closed_form_are_of_one_draw_a_coordinate() -> None:
    q, p = densities("gaussian", "logistic", 4)
    z = q.sample()
    scale = math.sqrt(3) / math.pi
    log_p = -z / scale - math.log(scale) - 2 * torch.log1p(torch.exp(-z / scale))
    by_coordinate = (Normal(q.mean, q.variance.sqrt()).log_prob(z) - log_p).mean(0).tolist()
    made = KullbackLeibler(latent_size=4, free_bits=0.25, samples=1)(latents(q, p, z))
    assert made.item() == pytest.approx(sum(max(0.25, part) for part in by_coordinate))


@pytest.mark.parametrize(
    ("prior", "published"),
    [
        ("normal", scipy.stats.norm()),
        ("laplace", scipy.stats.laplace(scale=0.5**0.5)),
        ("logistic", scipy.stats.logistic(scale=3**0.5 / math.pi)),
        ("student_t", scipy.stats.t(5, scale=0.6**0.5)),
        ("uniform", scipy.stats.uniform(-(3**0.5), 2 * 3**0.5)),
    ],
)
def test_a_prior_of_independent_coordinates_has_variance_one_and_its_published_density(
    prior: str, published: Any
) -> None:
    p = part_of("prior", prior, latent_size=3, shape=SHAPE)(None)
    z = 3.4 * torch.rand(20, 3) - 1.7  # within the box
    assert p.log_prob(z).tolist() == pytest.approx(published.logpdf(z.numpy()).sum(1).tolist(), rel=1e-5)
    assert published.var() == pytest.approx(1)
    torch.testing.assert_close(p.variance, torch.ones(3))


@pytest.mark.parametrize("freedom", [5, 1e4, 1e6])
def test_students_t_has_scipys_density_and_entropy_however_many_its_degrees_of_freedom(freedom: float) -> None:
    posterior = part_of("posterior", "student_t", latent_size=3, coordinates=3, degrees_of_freedom=freedom)
    prior = part_of("prior", "student_t", latent_size=3, shape=SHAPE, degrees_of_freedom=freedom)
    q, p, z = posterior(torch.tensor([[0.5, -1.0, 2.0, -1.0, 0.0, 1.0]])), prior(None), torch.randn(20, 3)
    theirs = scipy.stats.t(freedom, [0.5, -1, 2], np.exp([-1, 0, 1]))
    np.testing.assert_allclose(q.log_prob(z), theirs.logpdf(z).sum(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(q.entropy(), [np.sum(theirs.entropy())], rtol=1e-5)
    unit = scipy.stats.t(freedom, scale=(1 - 2 / freedom) ** 0.5)
    np.testing.assert_allclose(p.log_prob(z), unit.logpdf(z).sum(1), rtol=1e-5, atol=1e-5)


def test_a_vamp_prior_is_the_even_mixture_of_the_posteriors_of_its_pseudo_inputs() -> None:
    made = part_of("prior", "vamp", latent_size=3, shape=SHAPE, components=4)
    encode = encoder(part_of("posterior", "gaussian", latent_size=3, coordinates=3))
    z = torch.randn(20, 3)
    mean, log_scale = encode[1](torch.sigmoid(made.pseudo_inputs).flatten(1)).chunk(2, 1)
    density = [Normal(m, s).log_prob(z).sum(1).exp() for m, s in zip(mean, log_scale.exp(), strict=True)]
    torch.testing.assert_close(made(encode).log_prob(z), torch.stack(density).mean(0).log())


def test_a_mixture_prior_weighs_its_gaussians_by_the_softmax_of_its_logits() -> None:
    made = part_of("prior", "mixture", latent_size=3, shape=SHAPE, components=4)
    with torch.no_grad():
        made.logits.copy_(torch.arange(4.0))
        made.log_scales.normal_()
    z = torch.randn(20, 3)
    weights = torch.arange(4.0).softmax(0)
    components = zip(weights, made.means, made.log_scales.exp(), strict=True)
    density = sum(w * Normal(m, s).log_prob(z).sum(1).exp() for w, m, s in components)
    torch.testing.assert_close(made(None).log_prob(z), density.log())
