"""Log-likelihood of test images by annealed importance sampling (AIS), which needs no encoder."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentbench.errors import check_number, check_whole_number
from latentbench.metrics.base import ModelMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Measurements, Quantity, mean_of
from latentbench.models.base import GenerativeModel

STEEPNESS = 4.0  # r of the temperature schedule
TARGET_ACCEPTANCE = 0.65  # share of accepted moves, close to optimal for Hamiltonian Monte Carlo
JITTER = 0.2  # relative random change of the step size, so that no trajectory returns to its start every time
FIRST_STEP = 0.5  # step size at the start of the pilot run
ADAPTATION_RATE = 2.0  # log step size += this times (acceptance - target), in the pilot run; high, so as not to lag
SHARE_OF_GIVEN = 0.2  # of the temperatures are spread as in the pilot run, in case that its estimates are poor
ROWS = 2000  # latents decoded at once: few enough for the decoder's output to fit into a processor's cache


def sigmoidal_schedule(count: int) -> list[float]:
    """Inverse temperatures 0 = b_0 < ... < b_T = 1, dense at both ends.

    b_t = (s(r (2 t/T - 1)) - s(-r)) / (s(r) - s(-r)),  s the logistic function, r = 4
    Source: Grosse et al. 2015, section 6.2; r as in the code of Wu et al. 2017.
    """
    heights = [math.tanh(STEEPNESS * (t / count - 0.5)) for t in range(count + 1)]  # 2 s(2 u) - 1
    return [(height - heights[0]) / (heights[-1] - heights[0]) for height in heights]


def equal_steps(temperatures: Sequence[float], spreads: Tensor, count: int) -> list[float]:
    """Inverse temperatures 0 = b_0 < ... < b_count = 1, dense where log p(x|z) varies much: steps of equal length.

    L(b) = integral_0^b s(b') db', s the standard deviation of log p(x|z) at b'. With this density of temperatures the
    weights vary least, if every move draws anew. A share of SHARE_OF_GIVEN is spread as the given temperatures are.
    Shape: temperatures from 0 to 1, and their s. Source: Gelman & Meng 1998.
    """
    at_given = spreads.double().cpu().numpy()
    lengths = np.cumsum((at_given[1:] + at_given[:-1]) / 2 * np.diff(temperatures))
    even = np.linspace(0, 1, len(temperatures))
    mixed = SHARE_OF_GIVEN * even
    mixed[1:] += (1 - SHARE_OF_GIVEN) * lengths / max(lengths[-1], np.finfo(float).tiny)
    inner = np.interp(np.linspace(0, 1, count + 1)[1:-1], mixed / mixed[-1], temperatures)
    return [0.0, *map(float, inner), 1.0]


def hamiltonian_move(
    log_density: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    step: Tensor,
    leapfrog_steps: int,
    half_width: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """A Hamiltonian Monte Carlo move that leaves a density p invariant: new latents, and acceptance probabilities.

    v ~ N(0, I), leapfrog steps  v += e/2 g(z), z += e v, v += e/2 g(z)  with g the gradient of log p. The end point
    (z', v') is accepted with probability min(1, p(z') N(v') / p(z) N(v)). The walls of a box reflect z and v. A
    trajectory that diverges has acceptance probability 0.

    Shape: z (..., D), step broadcast to (..., 1), values of log_density (...) -> (..., D), (...).
    Source: Neal 2011: the algorithm, the random step sizes, and the walls, which are an infinite potential.
    """
    step = step * (1 + JITTER * (2 * torch.rand_like(z[..., :1]) - 1))
    momentum = torch.randn_like(z)
    log_joint_start, gradient = _with_gradient(log_density, z)
    log_joint_start = log_joint_start - 0.5 * momentum.square().sum(-1)
    end, log_joint_end = z, log_joint_start
    for _ in range(leapfrog_steps):
        momentum = momentum + 0.5 * step * gradient
        end = end + step * momentum
        if half_width < math.inf:
            end, is_reversed = reflect(end, half_width)
            momentum = momentum.where(~is_reversed, -momentum)
        log_joint_end, gradient = _with_gradient(log_density, end)
        momentum = momentum + 0.5 * step * gradient
    log_joint_end = log_joint_end - 0.5 * momentum.square().sum(-1)
    acceptance = (log_joint_end - log_joint_start).exp().clamp(max=1).nan_to_num(0)
    is_accepted = torch.rand_like(acceptance) < acceptance
    return end.where(is_accepted[..., None], z), acceptance


def reflect(z: Tensor, half_width: float) -> tuple[Tensor, Tensor]:
    """End of a straight path to z that the walls of the box [-w, w]^D reflect, and which directions are reversed."""
    unfolded = (z + half_width) % (4 * half_width)
    is_reversed = unfolded > 2 * half_width
    return unfolded.where(~is_reversed, 4 * half_width - unfolded) - half_width, is_reversed


def _with_gradient(log_density: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        values = log_density(z)
        (gradient,) = torch.autograd.grad(values.sum(), z)
    return values.detach(), gradient


class AnnealedChains:
    """Annealed chains between the prior, b = 0, and the posterior of images x (B, C, H, W), b = 1: p(z) p(x|z)^b.

    A pilot run with the sigmoidal schedule sets the temperatures (`equal_steps`), and for each image and temperature a
    step size with which about 0.65 of the moves are accepted. Wu et al. adapt step sizes while the chains run. Moves
    then depend on earlier moves, and the expected weight is no longer exactly p(x). Here the pilot chains are
    discarded, and all others use fixed temperatures and step sizes.
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
        on_move: Callable[[], object] = lambda: None,
    ) -> None:
        self.model = model
        self.x = x
        self.p = model.prior_distribution()
        self.chains = chains
        self.leapfrog_steps = leapfrog_steps
        self.on_move = on_move
        path = sigmoidal_schedule(pilot)
        steps, spreads = self._pilot_run(path)
        self.temperatures = equal_steps(path, spreads, temperatures)
        self.steps = {b: steps[bisect_right(path, b) - 1] for b in self.temperatures}

    def lower_bound(self) -> Tensor:
        """log 1/C sum_c w_c for C chains from the prior.

        Since E w = p(x), its expectation is at most log p(x).
        Shape: (B,). Units: nats.
        """
        z = self._sample_prior(self.chains)
        return self.log_weights(z, self.temperatures).logsumexp(0) - math.log(self.chains)

    def upper_bound(self, z: Tensor) -> Tensor:
        """-log 1/C sum_c 1/w_c for C reverse chains, from draws z (B, D) of the exact posterior to the prior.

        Since E 1/w = 1/p(x), its expectation is at least log p(x).
        Shape: (B,). Units: nats.
        """
        log_weights = self.log_weights(z.expand(self.chains, *z.shape), self.temperatures[::-1])
        return math.log(self.chains) - (-log_weights).logsumexp(0)

    def log_weights(self, z: Tensor, temperatures: Sequence[float]) -> Tensor:
        """log w = sum_t (b_t - b_(t-1)) log p(x|z_t) along chains from z (C, B, D), (C, B), nats.

        temperatures: rising for chains from the prior, falling for chains from the posterior
        """
        total = torch.zeros(z.shape[:-1], dtype=torch.float64, device=z.device)
        for current, following in pairwise(temperatures):
            total += abs(following - current) * self.model.pixel_log_prob(self.x, z).double()
            if following not in (0, 1):  # the weight does not depend on a move at the last temperature
                z, _ = self._move(z, following, self.steps[following])
        return total

    def _sample_prior(self, chains: int) -> Tensor:
        return self.p.sample(torch.Size((chains, len(self.x))))

    def _move(self, z: Tensor, b: float, step: Tensor) -> tuple[Tensor, Tensor]:
        self.on_move()
        return hamiltonian_move(
            lambda z: self.p.log_prob(z) + b * self.model.pixel_log_prob(self.x, z),
            z,
            step=step,
            leapfrog_steps=self.leapfrog_steps,
            half_width=self.model.box_half_width(),
        )

    def _pilot_run(self, temperatures: Sequence[float]) -> tuple[list[Tensor], Tensor]:
        """Step sizes (B, 1) after each of the temperatures, and standard deviations of log p(x|z) at each."""
        z = self._sample_prior(max(2, self.chains))
        step = z.new_full((len(self.x), 1), FIRST_STEP)
        steps, variances = [], []
        for b in temperatures:
            if b > 0:
                z, acceptance = self._move(z, b, step)
                step = step * (ADAPTATION_RATE * (acceptance.mean(0) - TARGET_ACCEPTANCE)).exp()[:, None]
            steps.append(step)
            variances.append(self.model.pixel_log_prob(self.x, z).double().var(0).mean())
        return steps, torch.stack(variances).sqrt()


class AnnealedImportanceSampling(ModelMetric):
    """`ais/test` = -log p(x) under prior and decoder. It does not use the encoder's posterior q(z|x).

    log p(x) ~ log 1/C sum_c w_c,  w_c = prod_t p(x|z_t-1)^(b_t - b_(t-1)),  z_0 ~ p(z), z_t by a Hamiltonian move that
    leaves p(z) p(x|z)^b_t invariant. The mean of w is p(x), so that -log p(x) is overestimated in expectation.
    The standard error is that of the mean over images, and includes their Monte Carlo noise.
    `ais_gap/test`: upper minus lower bound of log p(x), for as many images drawn from the model itself. The upper bound
    is from reverse chains that start at the latent that was decoded, the lower bound from chains as above. The gap
    estimates how far `ais` may be off, if test images are no harder than the model's own. A caveat reports a gap above
    `gap_within` or the standard error.

    `images` test images are used. The walls of a box reflect the chains. Refused on the sphere and for discrete codes,
    where these moves are not defined.
    Units: nats per image. Raises: UserError for settings out of range.
    Source: Neal 2001; Wu et al. 2017; Grosse et al. 2015 (bidirectional Monte Carlo).
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "ais": Quantity("nats", higher_is_better=False),
        "ais_gap": Quantity("nats", higher_is_better=None),
    }
    of_pixels = frozenset({"ais"})
    uses_encoder = False
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
        self.latents_per_image = chains
        self.progress_bar = tqdm(disable=True)
        self.add_lists("estimates", "gaps")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs the joint density of images and latents, and draws from it."""
        return inputs.model.cannot("joint_density", binary=inputs.data.is_binary)

    def measure(self, inputs: MetricInputs) -> Measurements:
        """Both quantities, with a progress bar."""
        batches = -(-len(inputs.held_out[: self.max_images]) // self.images_at_once(inputs.model))
        moves = batches * (2 * self.pilot + 3 * (self.temperatures - 1))
        with tqdm(total=moves, desc="ais", unit="move", leave=False, disable=None) as self.progress_bar:
            return super().measure(inputs)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W), and as many images drawn from the model itself."""
        self.estimates.append(-self.chains_for(model, images).lower_bound())
        z = model.prior_distribution().sample(torch.Size((len(images),)))
        simulated = self.chains_for(model, model.sample_pixels(z))
        self.gaps.append(simulated.upper_bound(z) - simulated.lower_bound())

    def chains_for(self, model: GenerativeModel, x: Tensor) -> AnnealedChains:
        """Chains for images x (B, C, H, W), with adapted step sizes."""
        return AnnealedChains(
            model,
            x,
            temperatures=self.temperatures,
            pilot=self.pilot,
            chains=self.chains,
            leapfrog_steps=self.leapfrog_steps,
            on_move=self.progress_bar.update,
        )

    def compute(self) -> dict[str, Estimate]:
        gap, ais = mean_of(self.gaps), mean_of(self.estimates)
        caveat = (
            f"for images drawn from the model itself the bounds of log p(x) differ by {gap.value:.2g} nats: ais may be "
            f"too high by as much; use more temperatures, such as metric.ais.temperatures={4 * self.temperatures}"
        )
        assert ais.standard_error is not None
        is_wide = gap.value > self.gap_within or gap.value > ais.standard_error
        return {"ais": ais._replace(caveat=caveat if is_wide else ""), "ais_gap": gap}
