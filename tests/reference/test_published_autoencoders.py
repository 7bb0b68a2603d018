"""The loss of every method with a weight of its own, against the published one written out."""

import math
from collections.abc import Callable

import pytest
import torch
from test_published_bounds import LATENTS
from torch import Tensor, nn

from latentbench.configuration.catalogue import own_options, preset
from latentbench.contracts.options import composed
from published import (
    SIZES,
    Loss,
    N,
    Seen,
    assert_same_up_to_a_factor,
    critics_output,
    cross_entropy,
    kl,
    model_and_batch,
    pairs_mmd,
    seen_by,
    squared_error,
)


def wae_mmd(seen: Seen) -> Loss:
    """wae.py: 0.05 |x - x'|^2 + 10 MMD, inverse multiquadratics of seven scales."""
    (draws,) = seen.draws
    widths = [scale * 2 * seen.z.shape[1] for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    mmd = pairs_mmd(seen.z, draws, lambda squared: torch.stack([width / (width + squared) for width in widths]).sum())
    return Loss(0.05 * squared_error(seen), 10 * mmd)


def sinkhorn_ae(seen: Seen) -> Loss:
    """Equation 8: 100 times the debiased transport cost with entropy; epsilon D, where the paper's is 10."""
    (draws,) = seen.draws
    epsilon = seen.z.shape[1]

    def transport(a: Tensor, b: Tensor) -> Tensor:
        """min_P sum_ij P_ij |a_i - b_j|^2 + epsilon KL(P || uniform), by 500 rescalings of rows and columns."""
        cost = (a[:, None] - b).square().sum(2).double()
        plan = (-cost.detach() / epsilon).exp()
        for _ in range(500):
            plan = plan / (N * plan.sum(1, keepdim=True))
            plan = plan / (N * plan.sum(0))
        return (plan * cost).sum()  # the entropy's gradient is 0 where P is best

    divergence = transport(seen.z, draws) - transport(seen.z, seen.z) / 2 - transport(draws, draws) / 2
    return Loss(squared_error(seen), 100 * divergence.float())


def fooled(seen: Seen) -> Tensor:
    """E[-log sigmoid(T(z))]."""
    return -critics_output(seen.model.regularizer.critic, seen.z, 0.0).sigmoid().log().mean()


def wae_gan(seen: Seen) -> Loss:
    """wae.py: 0.05 |x - x'|^2 + 10 E[-log sigmoid(T(z))]."""
    return Loss(0.05 * squared_error(seen), 10 * fooled(seen))


def aae(seen: Seen) -> Loss:
    """Half of the squared error, and the encoder's loss against the critic."""
    return Loss(0.5 * squared_error(seen), fooled(seen))


def swae(seen: Seen) -> Loss:
    """The notebooks: means of cross-entropy, absolute error, and squared differences of sorted projections."""
    (draws,) = seen.draws
    (gaussian,) = [noise for noise in seen.noise if noise.shape == (50, seen.z.shape[1])]
    theta = gaussian / gaussian.norm(dim=1, keepdim=True)
    w2 = ((seen.z @ theta.T).sort(0).values - (draws @ theta.T).sort(0).values).square()
    x, image = seen.x, seen.image
    entropy = -(x * image.log() + (1 - x) * (1 - image).log())
    return Loss(entropy.mean() + (x - image).abs().mean(), 10 * w2.mean())


def cwae(seen: Seen) -> Loss:
    """cost_function_factory.py: squared error of an image plus log of the squared distance, by quadrature."""
    z, g, size = seen.z.double(), (4 / (3 * N)) ** 0.4, seen.z.shape[1]
    coordinate = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000  # of a random direction
    weights = (1 - coordinate.square()) ** ((size - 3) / 2)

    def averaged(squared: Tensor, variance: float) -> Tensor:
        """Mean over directions of the density at v.u of N(0, variance), |u|^2 given."""
        density = (-squared[..., None] * coordinate.square() / (2 * variance)).exp() / math.sqrt(2 * math.pi * variance)
        return (density * weights).sum(-1) / weights.sum()

    among = averaged((z[:, None] - z).square().sum(2), 2 * g).mean()
    between = averaged(z.square().sum(1), 1 + 2 * g).mean()
    distance = among + 1 / math.sqrt(2 * math.pi * (2 + 2 * g)) - 2 * between
    return Loss(squared_error(seen), distance.log().float())


def rae(weight: float, penalty: Callable[[Seen], Tensor] | None = None) -> Callable[[Seen], Loss]:
    """loss_functions.py: mean over pixels, weight times the mean over latents, and a penalty of the decoder."""

    def written(seen: Seen) -> Loss:
        embedding = weight * seen.z.square().mean(1).mean()
        return Loss((seen.x - seen.raw).square().mean(), embedding + (penalty(seen) if penalty else 0.0))

    return written


def gradient_penalty(seen: Seen) -> Tensor:
    """K.mean(K.square(K.gradients(K.square(y_pred), embedding)))."""
    (slope,) = torch.autograd.grad(seen.raw.square().sum(), seen.z, create_graph=True)
    return 0.5e-7 * slope.square().mean()


def kernels(seen: Seen) -> Tensor:
    """Keras' l2 of the layers after the first."""
    _first, *others = [layer for layer in seen.model.backbone.decoder if isinstance(layer, nn.Linear)]
    return 1e-7 * sum(layer.weight.square().sum() for layer in others)


def beta_vae(seen: Seen) -> Loss:
    return Loss(cross_entropy(seen), 4 * kl(seen))


def capacity_vae(seen: Seen) -> Loss:
    """gamma |KL - C| at a fifth of the training."""
    return Loss(cross_entropy(seen), 1000 * (kl(seen) - 0.2 * 25).abs())


def beta_tcvae(seen: Seen) -> Loss:
    """Mutual information + 6 total correlation + dimension-wise KL, by minibatch weighted sampling."""
    z, n = seen.z, len(seen.x) * seen.model.dataset_size
    squares = (z[:, None] - seen.q.mean).square() / seen.q.variance
    log_q = -0.5 * (squares + seen.q.variance.log() + math.log(2 * math.pi))  # draws, images, coordinates
    own = log_q.sum(2).diagonal()
    joint = log_q.sum(2).logsumexp(1) - math.log(n)
    product = (log_q.logsumexp(1) - math.log(n)).sum(1)
    prior = (-0.5 * (z.square() + math.log(2 * math.pi))).sum(1)
    return Loss(cross_entropy(seen), ((own - joint) + 6 * (joint - product) + (product - prior)).mean())


def factor_vae(seen: Seen) -> Loss:
    """KL + 35 times the critic's mean log odds."""
    return Loss(cross_entropy(seen), kl(seen) + 35 * critics_output(seen.model.regularizer.critic, seen.z, 0.2).mean())


def dip_vae(seen: Seen, diagonal: float, *, of_codes: bool) -> Loss:
    mean = seen.q.mean
    covariance = mean.T @ mean / N - mean.mean(0)[:, None] * mean.mean(0)
    if of_codes:
        covariance = covariance + torch.diag(seen.q.variance.mean(0))
    on = covariance.diagonal()
    off = covariance - torch.diag(on)
    return Loss(cross_entropy(seen), kl(seen) + 10 * off.square().sum() + diagonal * (on - 1).square().sum())


def info_vae(seen: Seen) -> Loss:
    """(1 - alpha) KL + (alpha + lambda - 1) MMD with alpha = 0 and lambda = 1000, means over all pairs."""
    (draws,) = seen.draws

    def mean(a: Tensor, b: Tensor) -> Tensor:
        """Of the authors' kernel, exp(-mean_j (a_j - b_j)^2 / D)."""
        return (-(a[:, None] - b).square().mean(2) / a.shape[1]).exp().mean()

    mmd = mean(seen.z, seen.z) + mean(draws, draws) - 2 * mean(seen.z, draws)
    return Loss(cross_entropy(seen), kl(seen) + 999 * mmd)


LOSSES: dict[str, Callable[[Seen], Loss]] = {
    "aae": aae,
    "beta_tcvae": beta_tcvae,
    "beta_vae": beta_vae,
    "capacity_vae": capacity_vae,
    "cwae": cwae,
    "dip_vae_i": lambda seen: dip_vae(seen, 100, of_codes=False),
    "dip_vae_ii": lambda seen: dip_vae(seen, 10, of_codes=True),
    "factor_vae": factor_vae,
    "info_vae": info_vae,
    "rae": rae(0.5e-3),
    "rae_gp": rae(1e-4, gradient_penalty),
    "rae_l2": rae(1e-4, kernels),
    "rae_sn": rae(0.009),
    "sinkhorn_ae": sinkhorn_ae,
    "swae": swae,
    "wae_gan": wae_gan,
    "wae_mmd": wae_mmd,
}
WITHOUT_A_WEIGHT = {"gan", "hinge_gan", "wgan_gp"}  # test_gan_reference.py writes out the losses of both players


def test_every_method_is_compared() -> None:
    assert {*LOSSES, *LATENTS, *WITHOUT_A_WEIGHT} == set(own_options("method"))


@pytest.mark.parametrize("method", own_options("method"))
def test_a_method_tells_what_is_published_and_has_the_likelihood_that_its_weight_was_meant_for(method: str) -> None:
    told = composed(f"method={method}").published
    assert set(told) == {"loss", "images", "likelihood", "source", "read", "differs"}
    assert all(told[key] for key in ("loss", "images", "source"))
    assert "seen" in told.read or "recalled" in told.read
    likelihood = preset(method).get("likelihood")
    if method in LOSSES:
        assert told.likelihood == likelihood
    elif told.likelihood is None:
        assert likelihood in (None, "continuous_bernoulli"), "a bound, with a density of grey pixels"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", LOSSES)
def test_the_loss_is_the_published_one_up_to_a_factor(
    method: str, size: tuple[tuple[int, int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = model_and_batch(method, size)
    model.done.share = 0.2
    terms, seen, _ = seen_by(model, x, monkeypatch)
    converged_to = {"cwae": 2e-3, "sinkhorn_ae": 1e-3}.get(method, 2e-4)
    assert_same_up_to_a_factor(model, terms, LOSSES[method](seen), precision=converged_to)
