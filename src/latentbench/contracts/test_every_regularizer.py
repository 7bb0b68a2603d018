"""A regularizer grows as the codes move away from the prior, in every space that it takes."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.contracts.options import options, part_of, plain
from latentbench.distributions.spaces import BOX, CODES, REAL, SPHERE, Space
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer

SHAPE = (1, 2, 2)
# Of each space a posterior that can be the prior, or nearly, and that prior.
ALIKE = {"gaussian": "normal", "beta": "uniform", "von_mises_fisher": "hypersphere", "categorical": "categorical"}


def posterior_at(distance: float, posterior: Posterior, n: int) -> Distribution:
    """Of n images, all alike: at distance 0 nearly the prior, farther off codes that are gathered in one place."""
    half = torch.full((posterior.inputs // 2,), distance)
    by_space: dict[Space, Tensor] = {
        REAL: torch.cat([half, 0 * half]),  # a mean
        BOX: torch.cat([half, -half]) / 2,  # near a wall
        SPHERE: torch.full((posterior.inputs,), distance),  # concentrated around a direction
        CODES: distance * (torch.arange(posterior.inputs) % max(posterior.classes, 1) == 0),  # the first word
    }
    q: Distribution = posterior(by_space[posterior.space].expand(n, -1).clone().requires_grad_())
    return q


def latents_of(q: Distribution, posterior: Posterior, prior: Prior) -> Latents:
    """Codes that are drawn from a posterior, and a decoder."""
    z = q.rsample()
    decoder = nn.Linear(posterior.coordinates, 4)
    return Latents(
        x=torch.rand(len(z), *SHAPE), z=z, q=q, p=prior(None), decoder=decoder, decode=decoder, dataset_size=len(z)
    )


def strength(regularizer: Regularizer, posterior: Posterior, prior: Prior, distance: float) -> Tensor:
    """Mean R of codes so far away, after a critic had a while to look at such codes."""
    critic = list(regularizer.parameters())
    if critic:
        optimizer = torch.optim.Adam(critic, lr=1e-2)
        q = posterior_at(distance, posterior, 100)
        for _ in range(50):
            loss = regularizer.critic_loss(latents_of(q, posterior, prior))
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    # Over batches: directions are drawn for each, and an estimate may be noisy.
    q = posterior_at(distance, posterior, 200)
    return torch.stack([regularizer(latents_of(q, posterior, prior)) for _ in range(20)]).mean()


def parts(option: str, posterior: str) -> tuple[Regularizer, Posterior, Prior]:
    """The regularizer, its critic small, and what it is between."""
    q = part_of("posterior", posterior, latent_size=2, coordinates=2)
    p = part_of("prior", ALIKE[posterior], latent_size=2, shape=SHAPE)
    small = {"hidden": [16]} if "hidden" in plain("regularizer", option) else {}
    return part_of("regularizer", option, latent_size=q.coordinates, **small), q, p


def fits(option: str, posterior: str) -> bool:
    regularizer, q, p = parts(option, posterior)
    return regularizer.refuses(posterior=q, prior=p) is None


CASES = [(option, posterior) for option in options("regularizer") for posterior in ALIKE if fits(option, posterior)]


def test_there_is_a_case_of_every_regularizer() -> None:
    assert {option for option, _ in CASES} == set(options("regularizer"))


@pytest.mark.parametrize(("option", "posterior"), CASES)
def test_it_grows_as_the_codes_move_away_from_the_prior(option: str, posterior: str) -> None:
    at, near, far = (strength(*parts(option, posterior), distance) for distance in (0.0, 2.0, 4.0))
    if at.requires_grad:
        # A hundredth of the growth to the far codes: the noise of 20 batches is below it.
        margin = 0.01 * (far - at)
        assert margin > 0
        assert at + margin < near < far - margin
    else:
        assert at == near == far == 0, "what asks nothing of the codes is 0"
