"""The density of a mixture of normal components by products of matrices is that of all differences."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from latentbench.distributions.factorised import Factorised
from latentbench.distributions.mixture import NormalMixture, mixture


@pytest.mark.parametrize("scale", [1.0, 0.1, 5e-5])
def test_density_and_gradients_are_torchs_in_float64(scale: float) -> None:
    logits = torch.randn(6)
    means = 4 * torch.randn(6, 3)
    scales = scale * (torch.rand(6, 3) + 0.5)
    z = means[:5] + scales[:5] * torch.randn(2, 5, 3)  # where one component alone may count
    ours = [each.clone().requires_grad_() for each in (logits, means, scales, z)]
    exact = [each.double().requires_grad_() for each in (logits, means, scales, z)]
    fast = mixture(ours[0], Factorised(Normal(ours[1], ours[2])))
    assert isinstance(fast, NormalMixture)
    slow = MixtureSameFamily(Categorical(logits=exact[0]), Independent(Normal(exact[1], exact[2]), 1))
    densities = fast.log_prob(ours[3]), slow.log_prob(exact[3])
    torch.testing.assert_close(densities[0].double(), densities[1], rtol=1e-6, atol=1e-6)
    gradients = [
        torch.autograd.grad(density.sum(), inputs) for density, inputs in zip(densities, (ours, exact), strict=True)
    ]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (4,), (0,), (2, 3)])
def test_any_shape_of_points_is_taken(shape: tuple[int, ...]) -> None:
    p = mixture(torch.zeros(5), Factorised(Normal(torch.randn(5, 2), torch.ones(5, 2))))
    assert p.log_prob(torch.randn(*shape, 2)).shape == shape
