"""Sinkhorn divergence between the codes and the prior."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentbench.errors import check_number, check_whole_number
from latentbench.regularizers.base import Latents, Regularizer

Step = Callable[[Tensor], Tensor]


class Sinkhorn(Regularizer):
    """R = OT(z, p) - OT(z, z) / 2 - OT(p, p) / 2, entropic optimal transport between codes and as many draws of p(z).

    In units of z squared. `epsilon` is in units of the expected squared distance of two draws of p, 2 D for N(0, I);
    with 0 R were the squared 2-Wasserstein distance, with infinity the squared distance of the means. `iterations` is
    the most that is done for a batch, `tolerance` the change of the potentials, in units of epsilon, that ends them.
    Raises: UserError for numbers that make no sense.
    Source: Patrini et al. 2019 (Sinkhorn autoencoders), with the divergence of Feydy et al. 2019, equation 3.
    Gradients are those at the optimum and not of the iterations, through which Patrini et al. differentiate.
    """

    trains_prior = "draws"

    def __init__(self, *, latent_size: int, epsilon: float, iterations: int, tolerance: float) -> None:
        super().__init__(latent_size=latent_size)
        self.epsilon = check_number("regularizer.epsilon", epsilon, above=0)
        self.iterations = check_whole_number("regularizer.iterations", iterations, minimum=1)
        self.tolerance = check_number("regularizer.tolerance", tolerance, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        """R."""
        return sinkhorn_divergence(
            latents.z,
            latents.draws(),
            epsilon=self.epsilon * latents.spread(),
            iterations=self.iterations,
            tolerance=self.tolerance,
        )


def sinkhorn_divergence(a: Tensor, b: Tensor, *, epsilon: float, iterations: int, tolerance: float) -> Tensor:
    """S = OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 of two sets of equally weighted points.

    OT(a, b) = min_P sum_ij P_ij |a_i - b_j|^2 + epsilon KL(P || uniform), over couplings P of the two.
    Shape: a (N, D), b (M, D); epsilon in units of the squared distance; result (), in the same units.
    Where the iterations end before the tolerance is met each OT is below its value, OT(a, b) most.
    """
    # A shift of a set by m changes every coupling's cost alike, by |m|^2 and a term in the means: left in, it would
    # cost digits and iterations where the codes are far away.
    shift = (a.mean(0) - b.mean(0)).square().sum()
    a, b = a - a.mean(0), b - b.mean(0)
    with torch.no_grad():
        among_a, among_b, between = _scores(a, a, epsilon), _scores(b, b, epsilon), _scores(a, b, epsilon)
        of_a = _repeated(_step_of_one(among_a), -among_a.diagonal() / 2, iterations, tolerance)
        of_b = _repeated(_step_of_one(among_b), -among_b.diagonal() / 2, iterations, tolerance)
        # Where the codes follow the prior, the potential that its draws have among themselves is nearly it.
        columns = _repeated(_step_of_two(between), of_b, iterations, tolerance)
    own = _transport(a, a, of_a, epsilon) + _transport(b, b, of_b, epsilon)
    return shift + _transport(a, b, columns, epsilon) - own / 2


def _scores(a: Tensor, b: Tensor, epsilon: float) -> Tensor:
    """Minus the cost over epsilon, (N, M), but for |a|^2 and |b|^2 in it: every coupling has the same of them."""
    return 2 * a @ b.T / epsilon


def _potential(scores: Tensor, other: Tensor) -> Tensor:
    """The potential of the rows, (N,), in units of epsilon, that gives each its mass with that of the columns, (M,)."""
    return math.log(len(other)) - (scores + other).logsumexp(1)


def _step_of_two(scores: Tensor) -> Step:
    """From a potential of the columns to the next, by way of the rows. Source: Feydy et al. 2019, section 3.1."""
    return lambda columns: _potential(scores.T, _potential(scores, columns))


def _step_of_one(scores: Tensor) -> Step:
    """The averaged step of a set and itself, which halves the error. Source: Feydy et al. 2019, section 3.1."""
    return lambda potential: (potential + _potential(scores, potential)) / 2


def _repeated(step: Step, potential: Tensor, iterations: int, tolerance: float) -> Tensor:
    """The potential after steps that end once it changes by no more than the tolerance."""
    for _ in range(iterations):
        before, potential = potential, step(potential)
        if (potential - before).abs().max() <= tolerance:
            break
    return potential


def _transport(a: Tensor, b: Tensor, columns: Tensor, epsilon: float) -> Tensor:
    """OT(a, b) less the means of |a|^2 and |b|^2, which cancel in the divergence.

    The value is the dual's, the gradient that of the cost under its plan. The plan stands still, since at the optimum
    no gradient passes through it (the envelope theorem); each row has exactly its mass, met tolerance or not.
    """
    with torch.no_grad():
        scores = _scores(a, b, epsilon)
        plan = (scores + columns).softmax(1) / len(a)
        value = epsilon * (_potential(scores, columns).mean() + columns.mean())
    cost = -2 * (plan @ b * a).sum()
    return cost + (value - cost).detach()
