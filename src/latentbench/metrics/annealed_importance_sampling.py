"""Log-likelihood of test images by annealed importance sampling, whatever the encoder."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from latentbench.errors import check_number, check_whole_number
from latentbench.metrics.base import Estimate, Measurements, MetricInputs, ModelMetric, Quantity, mean_of
from latentbench.models.base import GenerativeModel

STEEPNESS = 4.0  # r of the schedule
ACCEPTED = 0.65  # share of moves that are to be accepted, about the best for Hamiltonian dynamics
JITTER = 0.2  # each trajectory's steps are up to so much shorter or longer: none can circle back to its start for ever
FIRST_STEP, RATE = 0.5, 0.2  # of the preliminary run: its first step, and how much acceptance changes its logarithm
ROWS = 2000  # latents decoded at once: few enough for the decoder's output to stay in a processor's cache


def sigmoidal(count: int) -> list[float]:
    """Inverse temperatures 0 = b_0 < ... < b_T = 1, close together near both ends.

    b_t = (s(r (2 t/T - 1)) - s(-r)) / (s(r) - s(-r)),  s the logistic function, r = 4
    Source: Grosse et al. 2015, section 6.2; r as in the code of Wu et al. 2017.
    """
    heights = [math.tanh(STEEPNESS * (t / count - 0.5)) for t in range(count + 1)]  # 2 s(2 u) - 1
    return [(height - heights[0]) / (heights[-1] - heights[0]) for height in heights]


def hamiltonian_move(
    log_density: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    step: Tensor,
    leapfrog_steps: int,
    half_width: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """A move of latents that leaves a density as it is, and the probabilities with which its ends were accepted.

    v ~ N(0, I), leapfrog steps  v += e/2 g(z), z += e v, v += e/2 g(z)  with g the gradient of log p, and their end
    (z', v') with probability min(1, p(z') N(v') / p(z) N(v)), else the start. The walls of a box reflect z and v. A
    trajectory that diverges has an end of probability 0 and is rejected.

    Shape: z (..., D), step broadcast to (..., 1), values of log_density (...) -> (..., D), (...).
    Source: Neal 2011: the algorithm; steps of random length; walls, as those of an infinite potential.
    """
    step = step * (1 + JITTER * (2 * torch.rand_like(z[..., :1]) - 1))
    momentum = torch.randn_like(z)
    before, gradient = _with_gradient(log_density, z)
    before = before - 0.5 * momentum.square().sum(-1)
    end, after = z, before
    for _ in range(leapfrog_steps):
        momentum = momentum + 0.5 * step * gradient
        end = end + step * momentum
        if half_width < math.inf:
            end, is_turned = reflected(end, half_width)
            momentum = momentum.where(~is_turned, -momentum)
        after, gradient = _with_gradient(log_density, end)
        momentum = momentum + 0.5 * step * gradient
    after = after - 0.5 * momentum.square().sum(-1)
    acceptance = (after - before).exp().clamp(max=1).nan_to_num(0)
    is_accepted = torch.rand_like(acceptance) < acceptance
    return end.where(is_accepted[..., None], z), acceptance


def reflected(z: Tensor, half_width: float) -> tuple[Tensor, Tensor]:
    """Where a straight way to z ends in the box [-w, w]^D with reflecting walls, and which directions are turned."""
    unfolded = (z + half_width) % (4 * half_width)
    is_turned = unfolded > 2 * half_width
    return unfolded.where(~is_turned, 4 * half_width - unfolded) - half_width, is_turned


def _with_gradient(log_density: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        values = log_density(z)
        (gradient,) = torch.autograd.grad(values.sum(), z)
    return values.detach(), gradient


class Annealing:
    """The way from the prior, b = 0, to the posterior of images x (B, C, H, W), b = 1: p(z) p(x|z)^b.

    Step sizes, one for each image and temperature, are those with which the chains of a preliminary run have about
    0.65 of their moves accepted. Wu et al. adapt them while the chains run; then a move depends on earlier ones, and
    the weights' mean is no longer quite p(x). Here the run that adapts is thrown away, so that all later chains move
    by kernels that were settled before they began.
    """

    def __init__(
        self,
        model: GenerativeModel,
        x: Tensor,
        *,
        temperatures: int,
        pilot: int,
        chains: int,
        leapfrog_steps: int,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self.model = model
        self.x = x
        self.p = model.prior_distribution()
        self.chains = chains
        self.leapfrog_steps = leapfrog_steps
        self.tick = tick
        self.temperatures = sigmoidal(temperatures)
        steps = self._steps_of_pilot(sigmoidal(pilot)[1:])
        self.steps = {b: steps[t * pilot // temperatures] for t, b in enumerate(self.temperatures)}

    def lower_bound(self) -> Tensor:
        """log 1/C sum_c w_c of chains from the prior: E w = p(x), so in the mean below log p(x). (B,), nats."""
        return self.log_weights(self._start(), self.temperatures).logsumexp(0) - math.log(self.chains)

    def upper_bound(self, z: Tensor) -> Tensor:
        """-log 1/C sum_c 1/w_c of chains from draws z (B, D) of the exact posterior, the way back to the prior.

        E 1/w = 1/p(x), so in the mean above log p(x). (B,), nats.
        """
        log_weights = self.log_weights(z.expand(self.chains, *z.shape), self.temperatures[::-1])
        return math.log(self.chains) - (-log_weights).logsumexp(0)

    def log_weights(self, z: Tensor, order: Sequence[float]) -> Tensor:
        """log w = sum_t (b_t - b_(t-1)) log p(x|z_t) along chains from z (C, B, D), in either order. (C, B), nats."""
        total = torch.zeros(z.shape[:-1], dtype=torch.float64, device=z.device)
        for here, there in pairwise(order):
            total += abs(there - here) * self.model.pixel_log_prob(self.x, z).double()
            if there not in (0, 1):  # nothing is weighed after the last
                z, _ = self._move(z, there, self.steps[there])
        return total

    def _start(self) -> Tensor:
        return self.p.sample(torch.Size((self.chains, len(self.x))))

    def _move(self, z: Tensor, b: float, step: Tensor) -> tuple[Tensor, Tensor]:
        self.tick()
        return hamiltonian_move(
            lambda z: self.p.log_prob(z) + b * self.model.pixel_log_prob(self.x, z),
            z,
            step=step,
            leapfrog_steps=self.leapfrog_steps,
            half_width=self.model.half_width(),
        )

    def _steps_of_pilot(self, temperatures: Sequence[float]) -> list[Tensor]:
        """Step sizes (B, 1) at so many parts of the way, and at its end."""
        z = self._start()
        steps = [z.new_full((len(self.x), 1), FIRST_STEP)]
        for b in temperatures:
            z, acceptance = self._move(z, b, steps[-1])
            steps.append(steps[-1] * (RATE * (acceptance.mean(0) - ACCEPTED)).exp()[:, None])
        return steps


class AnnealedImportanceSampling(ModelMetric):
    """`ais/test` = -log p(x) under prior and decoder, nats per image, whatever the encoder; none is asked.

    log p(x) ~ log 1/C sum_c w_c,  w_c = prod_t p(x|z_t-1)^(b_t - b_(t-1)),  chains z_0 ~ p(z), z_t by a Hamiltonian
    move that leaves p(z) p(x|z)^b_t as it is. The mean of w is p(x), so -log p(x) is overestimated in the mean.
    The error is of the mean over the images (their Monte Carlo noise is part of it).
    `ais_gap/test`, nats: for as many images drawn of the model itself, the upper less the lower bound of log p(x), of
    chains back from the latent that each was drawn with and of chains as above: about how far `ais` may be off, if
    test images are no harder than the model's own. A warning tells of a gap above `gap_within`.

    `images` test images are taken. A box's walls reflect; on the sphere and for codes,
    where such moves are not at home, it is refused.
    Source: Neal 2001; Wu et al. 2017; Grosse et al. 2015 (bidirectional Monte Carlo).
    Raises: UserError for settings out of range.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "ais": Quantity("nats", higher_is_better=False),
        "ais_gap": Quantity("nats", higher_is_better=None),
    }
    asks_encoder = False
    estimates: list[Tensor]
    gaps: list[Tensor]

    def __init__(
        self, *, images: int, chains: int, temperatures: int, pilot: int, leapfrog_steps: int, gap_within: float
    ) -> None:
        super().__init__()
        self.max_images = check_whole_number("metric.ais.images", images, minimum=1)
        self.chains = check_whole_number("metric.ais.chains", chains, minimum=1)
        self.temperatures = check_whole_number("metric.ais.temperatures", temperatures, minimum=1)
        self.pilot = check_whole_number("metric.ais.pilot", pilot, minimum=1)
        self.leapfrog_steps = check_whole_number("metric.ais.leapfrog_steps", leapfrog_steps, minimum=1)
        self.gap_within = check_number("metric.ais.gap_within", gap_within, above=0)
        self.batch_size = max(1, ROWS // chains)
        self.bar = tqdm(disable=True)
        self.keep("estimates", "gaps")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs the density of images and latents together, and draws of it."""
        return inputs.model.cannot("joint_density", binary=inputs.data.is_binary)

    def measure(self, inputs: MetricInputs) -> Measurements:
        """Every quantity on those images, with a bar."""
        batches = -(-len(inputs.test[: self.max_images]) // self.batch_size)
        moves = batches * (2 * self.pilot + 3 * (self.temperatures - 1))
        with tqdm(total=moves, desc="ais", unit="move", leave=False, disable=None) as self.bar:
            return super().measure(inputs)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W), and as many images of the model itself."""
        self.estimates.append(-self.annealing(model, images).lower_bound())
        z = model.prior_distribution().sample(torch.Size((len(images),)))
        simulated = self.annealing(model, model.draw_pixels(z))
        self.gaps.append(simulated.upper_bound(z) - simulated.lower_bound())

    def annealing(self, model: GenerativeModel, x: Tensor) -> Annealing:
        """The way to the posterior of images x (B, C, H, W), step sizes settled."""
        return Annealing(
            model,
            x,
            temperatures=self.temperatures,
            pilot=self.pilot,
            chains=self.chains,
            leapfrog_steps=self.leapfrog_steps,
            tick=self.bar.update,
        )

    def compute(self) -> dict[str, Estimate]:
        """Mean over images, its error, and the mean gap."""
        gap = mean_of(self.gaps)
        apart = (
            f"on images of the model itself the bounds of log p(x) are {gap.value:.2g} nats apart: ais may "
            f"be too high by as much; take more steps, as with metric.ais.temperatures={4 * self.temperatures}"
        )
        is_tight = gap.value <= self.gap_within
        return {"ais": mean_of(self.estimates)._replace(caveat="" if is_tight else apart), "ais_gap": gap}
