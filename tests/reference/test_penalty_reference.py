"""Critics, covariances and norms against their formulas, written out."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import autoencoder, options, part_of
from latentbench.posteriors.dirac import Dirac
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import kl_per_image
from latentbench.regularizers.maximum_mean_discrepancy import mmd_squared

SHAPE = (1, 2, 2)
ONE, ZERO = torch.ones(6, 1), torch.zeros(6, 1)


def latents(q: Distribution, p: Distribution, z: Tensor, decoder: nn.Module | None = None) -> Latents:
    return Latents(
        x=torch.zeros(len(z), *SHAPE),
        z=z,
        q=q,
        p=p,
        decoder=decoder or nn.Identity(),
        decode=decoder or nn.Identity(),
        dataset_size=100,
    )


def normal(latent_size: int) -> Distribution:
    p: Distribution = part_of("prior", "normal", latent_size=latent_size, shape=SHAPE)(None)
    return p


def posterior_of(option: str, latent_size: int, n: int) -> Distribution:
    posterior = part_of("posterior", option, latent_size=latent_size, coordinates=latent_size)
    q: Distribution = posterior(torch.randn(n, posterior.inputs))
    return q


def fitted(critic: Regularizer, codes: Distribution, p: Distribution, *, steps: int, rate: float) -> None:
    """Train the critic on draws of a distribution of codes."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = critic.critic_loss(latents(codes, p, codes.sample((512,))))
        assert loss is not None
        loss.backward()
        optimizer.step()


def test_the_adversarial_losses_are_cross_entropies() -> None:
    made = part_of("regularizer", "adversarial", latent_size=2)
    z, draw = torch.randn(6, 2), torch.randn(2)
    given = latents(Dirac(z), Dirac(draw), z)
    of_codes, of_draws = made.critic(z), made.critic(draw.repeat(6, 1))
    torch.testing.assert_close(made(given), binary_cross_entropy_with_logits(of_codes, ONE))
    told_apart = binary_cross_entropy_with_logits(of_draws, ONE) + binary_cross_entropy_with_logits(of_codes, ZERO)
    torch.testing.assert_close(made.critic_loss(given), told_apart)


def test_an_adversarial_critic_at_a_loss_gives_log_2_for_each_verdict() -> None:
    made = part_of("regularizer", "adversarial", latent_size=2)
    nn.init.zeros_(made.critic[-1].weight)
    nn.init.zeros_(made.critic[-1].bias)
    z = torch.randn(6, 2)
    given = latents(Dirac(z), normal(2), z)
    assert made(given).item() == pytest.approx(math.log(2))
    assert made.critic_loss(given).item() == pytest.approx(2 * math.log(2))


def test_an_adversarial_critic_with_nothing_to_tell_apart_stays_at_a_loss() -> None:
    made, p = part_of("regularizer", "adversarial", latent_size=2, hidden=[64]), normal(2)
    fitted(made, p, p, steps=150, rate=1e-3)
    # A tenth of a nat: what 512 draws a step let a critic believe.
    assert made(latents(p, p, p.sample((2000,)))).item() == pytest.approx(math.log(2), abs=0.1)


def test_an_adversarial_critic_at_its_best_knows_the_log_ratio_of_the_densities() -> None:
    made, p = part_of("regularizer", "adversarial", latent_size=1, hidden=[64]), normal(1)
    codes = torch.distributions.Independent(torch.distributions.Normal(torch.ones(1), torch.ones(1)), 1)
    fitted(made, codes, p, steps=800, rate=3e-3)
    z = torch.linspace(-1, 2, 7)[:, None]
    # log N(z; 0, 1) - log N(z; 1, 1) = 1/2 - z.
    torch.testing.assert_close(made.critic(z).detach(), 0.5 - z, rtol=0, atol=0.25)


def test_factor_is_the_divergence_plus_gamma_times_the_critics_log_odds() -> None:
    made = part_of("regularizer", "factor", latent_size=3, hidden=[16], gamma=35)
    q = posterior_of("gaussian", 3, 6)
    z = q.sample()
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum() / 6
    first, last = made.critic[0], made.critic[-1]
    hidden = z @ first.weight.T + first.bias
    log_odds = torch.where(hidden > 0, hidden, 0.2 * hidden) @ last.weight.T + last.bias
    torch.testing.assert_close(made(latents(q, normal(3), z)), kl + 35 * log_odds.sum() / 6)


def test_factors_critic_is_shown_codes_and_the_same_coordinates_permuted_each_by_itself() -> None:
    made = part_of("regularizer", "factor", latent_size=3, hidden=[16])
    seen: list[Tensor] = []
    made.critic.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    z = torch.arange(18.0).reshape(6, 3)
    loss = made.critic_loss(latents(Dirac(z), normal(3), z))
    codes, permuted = seen
    assert torch.equal(codes, z)
    assert torch.equal(permuted.sort(0).values, z), "every coordinate keeps its values"
    origins = permuted.sub(torch.arange(3)).div(3)
    assert not torch.equal(origins[:, 0], origins[:, 1]), "and goes its own way"
    of_codes, of_permuted = made.critic(codes), made.critic(permuted)
    entropies = binary_cross_entropy_with_logits(of_codes, ONE) + binary_cross_entropy_with_logits(of_permuted, ZERO)
    torch.testing.assert_close(loss, 0.5 * entropies)


def test_permutations_of_factors_critic_are_all_alike() -> None:
    made = part_of("regularizer", "factor", latent_size=2, hidden=[4])
    seen: list[Tensor] = []
    made.critic.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    z = torch.arange(3.0)[:, None].repeat(1, 2)
    for _ in range(1500):
        made.critic_loss(latents(Dirac(z), normal(2), z))
    orders = torch.stack(seen[1::2]).long()
    # 3! orders of the first coordinate times 3! of the second; 6 standard deviations of a count of 1500 / 36.
    names = (orders * torch.tensor([9, 3, 1])[:, None]).sum(1) @ torch.tensor([27, 1])
    counts = names.unique(return_counts=True)[1]
    assert len(counts) == 36
    assert (counts - 1500 / 36).abs().max() < 6 * (1500 / 36) ** 0.5


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_mean_log_odds_of_factors_critic_at_its_best_are_the_total_correlation(correlation: float) -> None:
    made, p = part_of("regularizer", "factor", latent_size=2, hidden=[64, 64], gamma=1), normal(2)
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    codes = torch.distributions.MultivariateNormal(torch.zeros(2), covariance)
    fitted(made, codes, p, steps=300, rate=3e-3)
    z = codes.sample((20_000,))
    q = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(20_000, 2), 1.0), 1)
    # The posterior is the prior here: what is left of R is gamma E[T].
    assert made(latents(q, p, z)).item() == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.06)


@pytest.mark.parametrize("option", ["gaussian", "gaussian_full", "laplace", "student_t"])
@pytest.mark.parametrize("variant", ["I", "II"])
def test_dip_is_the_divergence_plus_squares_of_numpys_covariance(variant: str, option: str) -> None:
    made = part_of("regularizer", "dip", latent_size=3, variant=variant, off_diagonal=2.0, diagonal=5.0)
    q = posterior_of(option, 3, 20)
    z = q.sample()
    covariance = np.cov(q.mean.numpy().T, bias=True)
    if variant == "II":
        draws = q.sample((200_000,)).numpy() if option == "student_t" else None
        if option == "gaussian_full":
            within = (q.scale_tril @ q.scale_tril.mT).numpy().mean(0)
        elif option == "student_t":  # 5 degrees of freedom: s^2 5 / 3
            within = np.diag((q.base_dist.scale.square() * 5 / 3).numpy().mean(0))
            assert draws is not None
            assert np.diag(within) == pytest.approx(draws.var(0).mean(0), rel=0.1)
        else:
            scale = q.base_dist.scale.square() * (2 if option == "laplace" else 1)
            within = np.diag(scale.numpy().mean(0))
        covariance = covariance + within
    penalty = sum(
        5.0 * (covariance[i, j] - 1) ** 2 if i == j else 2.0 * covariance[i, j] ** 2 for i in range(3) for j in range(3)
    )
    kl = kl_per_image(q, normal(3), z).mean().item()
    assert made(latents(q, normal(3), z)).item() == pytest.approx(kl + penalty, rel=1e-4)


def test_the_covariance_of_dip_ii_is_that_of_the_codes() -> None:
    made = part_of("regularizer", "dip_ii", latent_size=3, off_diagonal=1.0, diagonal=0.0)
    q = posterior_of("gaussian_full", 3, 20)
    covariance = np.cov(q.sample((50_000,)).flatten(0, 1).numpy().T)
    z = q.sample()
    penalty = made(latents(q, normal(3), z)) - kl_per_image(q, normal(3), z).mean()
    assert penalty.item() == pytest.approx((covariance**2).sum() - (np.diag(covariance) ** 2).sum(), rel=0.05)


@pytest.mark.parametrize(("alpha", "lambda_"), [(0.0, 1.0), (0.0, 1000.0), (0.5, 3.0), (-1.0, 2.0)])
def test_info_weighs_divergence_and_discrepancy(alpha: float, lambda_: float) -> None:
    made = part_of(
        "regularizer",
        "info",
        latent_size=3,
        alpha=alpha,
        lambda_=lambda_,
        kernel="rbf",
        scales=[0.5, 2.0],
        estimator="unbiased",
    )
    q, draw = posterior_of("gaussian", 3, 6), torch.randn(3)
    z, p = q.sample(), normal(3)
    p.rsample = lambda shape: draw.expand(*shape, 3)  # type: ignore[method-assign]
    mmd = mmd_squared(z, draw.expand(6, 3), kernel="rbf", widths=[4.5, 18.0], estimator="unbiased")
    kl = kl_divergence(q, p).mean()
    torch.testing.assert_close(made(latents(q, p, z)), (1 - alpha) * kl + (alpha + lambda_ - 1) * mmd)


def test_squared_norms_are_half_the_sum_of_squares_averaged_over_images() -> None:
    z = torch.randn(6, 3)
    norm = sum(value**2 for value in z.flatten().tolist()) / 2 / 6
    decoder = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
    given = latents(Dirac(z), normal(3), z, decoder)
    for option in ("squared_norm", "spectral_norm"):
        assert part_of("regularizer", option, latent_size=3)(given).item() == pytest.approx(norm)
    weights = sum(value**2 for value in decoder[2].weight.flatten().tolist())  # no bias, and not the first layer
    made = part_of("regularizer", "l2", latent_size=3, decoder_weight=0.3)
    assert made(given).item() == pytest.approx(norm + 0.3 * 3 * weights)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_gradient_penalty_is_the_squared_gradient_of_the_sum_of_squared_pixels(kind: str) -> None:
    model = autoencoder(few_digits(), latent_size=3, backbone=kind)
    decoder, z = model.backbone.decoder, torch.randn(6, 3, requires_grad=True)
    jacobians = [torch.autograd.functional.jacobian(decoder, row[None])[0, 0, :, :, 0].flatten(0, 1) for row in z]
    slopes = [2 * decoder(row[None]).flatten() @ jacobian for row, jacobian in zip(z, jacobians, strict=True)]
    known = sum(slope.square().sum().item() for slope in slopes) / 6
    made = part_of("regularizer", "gradient_penalty", latent_size=3, decoder_weight=1.0)
    norm = 0.5 * z.square().sum().item() / 6
    with torch.no_grad():  # as in validation
        penalty = made(latents(Dirac(z), normal(3), z.detach(), decoder)) - norm
    assert penalty.item() == pytest.approx(known, rel=1e-4)


@pytest.mark.parametrize("backbone", ["linear", "mlp", "conv", "resnet"])
def test_spectral_normalisation_leaves_every_layer_of_the_decoder_a_largest_singular_value_of_one(
    backbone: str,
) -> None:
    decoder = part_of("backbone", backbone, shape=(1, 8, 8), latent_size=3).decoder
    part_of("regularizer", "spectral_norm", latent_size=3).constrain(decoder)
    layers = {
        name: module
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    }
    assert layers
    with torch.no_grad():
        for layer in layers.values():
            layer.parametrizations.weight.original.mul_(3)
        for _ in range(300):
            decoder(torch.randn(2, 3))
    for name, layer in layers.items():
        kernel = layer.weight.detach()
        matrix = (kernel.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else kernel).flatten(1)
        # One power iteration a pass: slow where the second singular value is close to the first.
        assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1, abs=2e-3), name


@pytest.mark.parametrize("option", options("regularizer"))
def test_only_one_regularizer_and_only_the_decoder_is_normalised_spectrally(option: str) -> None:
    model = autoencoder(
        few_digits(), posterior="dirac" if option == "spectral_norm" else "gaussian", regularizer=option
    )
    normalised = {name.split(".")[1] for name, _ in model.named_parameters() if "parametrizations" in name}
    assert normalised == ({"decoder"} if option == "spectral_norm" else set())
