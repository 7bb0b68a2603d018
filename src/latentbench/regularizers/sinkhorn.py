"""Sinkhorn divergence between the codes and the prior."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentbench.errors import check_number, check_whole_number
from latentbench.regularizers.base import Latents, Regularizer

Step = Callable[[Tensor], Tensor]


class Sinkhorn(Regularizer):
    """R = OT(z, p) - OT(z, z) / 2 - OT(p, p) / 2 between the codes z and as many samples of p(z).

    OT is entropy-regularized optimal transport. For epsilon -> 0, R is the squared 2-Wasserstein distance; for
    epsilon -> infinity, it is the squared distance between the means.
    epsilon: in units of the expected squared distance between two samples of p, 2 D for N(0, I).
    iterations: maximum number per batch.
    tolerance: the iterations end once the potentials change by at most this much, in units of epsilon.
    Units: those of z squared.
    Raises: UserError if a setting is out of range.
    Source: Patrini et al. 2019 (Sinkhorn autoencoders), with the divergence of Feydy et al. 2019, equation 3. We
    use the gradient at the optimum, where Patrini et al. differentiate through the iterations.
    """

    trains_prior = "draws"

    def __init__(self, *, latent_size: int, epsilon: float, iterations: int, tolerance: float) -> None:
        super().__init__(latent_size=latent_size)
        self.epsilon = check_number("regularizer.epsilon", epsilon, above=0)
        self.iterations = check_whole_number("regularizer.iterations", iterations, minimum=1)
        self.tolerance = check_number("regularizer.tolerance", tolerance, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        epsilon = self.epsilon * latents.prior_squared_distance()
        return sinkhorn_divergence(
            latents.z,
            latents.prior_samples(),
            epsilon=epsilon.to(latents.z.dtype) if isinstance(epsilon, Tensor) else epsilon,
            iterations=self.iterations,
            tolerance=self.tolerance,
        )


def sinkhorn_divergence(a: Tensor, b: Tensor, *, epsilon: Tensor | float, iterations: int, tolerance: float) -> Tensor:
    """S = OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 of two sets of equally weighted points.

    OT(a, b) = min_P sum_ij P_ij |a_i - b_j|^2 + epsilon KL(P || uniform), over all couplings P of a and b.
    If the iterations end before the tolerance is met, each OT is too small, OT(a, b) the most.
    Shape: a (N, D), b (M, D); result ().
    Units: epsilon and the result are in units of the squared distance.
    """
    # Moving a set by m changes the cost of every coupling by the same amount: |m|^2 and a term in the means. Removing
    # the means saves digits and iterations when the codes are far from the prior.
    shift = (a.mean(0) - b.mean(0)).square().sum()
    a, b = a - a.mean(0), b - b.mean(0)
    with torch.no_grad():
        scores_aa, scores_bb, scores_ab = _scores(a, a, epsilon), _scores(b, b, epsilon), _scores(a, b, epsilon)
        potential_a = _iterate(_symmetric_step(scores_aa), -scores_aa.diagonal() / 2, iterations, tolerance)
        potential_b = _iterate(_symmetric_step(scores_bb), -scores_bb.diagonal() / 2, iterations, tolerance)
        # A good start: if a and b have the same distribution, the potential of b with itself is nearly the solution.
        potential_ab = _iterate(_alternating_step(scores_ab), potential_b, iterations, tolerance)
    within = _transport(a, a, potential_a, epsilon) + _transport(b, b, potential_b, epsilon)
    return shift + _transport(a, b, potential_ab, epsilon) - within / 2


def _scores(a: Tensor, b: Tensor, epsilon: Tensor | float) -> Tensor:
    """-cost / epsilon, (N, M), without the terms |a|^2 and |b|^2, which are the same for every coupling."""
    return 2 * a @ b.T / epsilon


def _potential(scores: Tensor, other: Tensor) -> Tensor:
    """The row potential, (N,), that gives each row its mass, for a column potential (M,). In units of epsilon."""
    return math.log(len(other)) - (scores + other).logsumexp(1)


def _alternating_step(scores: Tensor) -> Step:
    """One update of the row potential and then of the column potential. Source: Feydy et al. 2019, section 3.1."""
    return lambda columns: _potential(scores.T, _potential(scores, columns))


def _symmetric_step(scores: Tensor) -> Step:
    """The averaged update for a set with itself, which halves the error. Source: Feydy et al. 2019, section 3.1."""
    return lambda potential: (potential + _potential(scores, potential)) / 2


def _iterate(step: Step, potential: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Repeat the step until the potential changes by at most the tolerance."""
    for _ in range(iterations):
        before, potential = potential, step(potential)
        if (potential - before).abs().max() <= tolerance:
            break
    return potential


def _transport(a: Tensor, b: Tensor, columns: Tensor, epsilon: Tensor | float) -> Tensor:
    """OT(a, b) without the means of |a|^2 and |b|^2, which cancel in the divergence. columns: column potential, (M,).

    The value is that of the dual problem, the gradient is that of the cost for a constant transport plan. At the
    optimum the plan contributes no gradient (envelope theorem). Each row of the plan has exactly its mass, even if the
    tolerance is not met.
    """
    with torch.no_grad():
        scores = _scores(a, b, epsilon)
        plan = (scores + columns).softmax(1) / len(a)
        value = epsilon * (_potential(scores, columns).mean() + columns.mean())
    cost = -2 * (plan @ b * a).sum()
    return cost + (value - cost).detach()
