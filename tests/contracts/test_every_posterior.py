"""A posterior is a distribution over latents for each image, and what it draws carries gradients."""

import pytest
import torch

from options import options, part_of


@pytest.mark.parametrize("latent_size", [1, 2, 64])
@pytest.mark.parametrize("posterior", options("posterior"))
def test_it_has_one_distribution_per_image(posterior: str, latent_size: int) -> None:
    made = part_of("posterior", posterior, features=5, latent_size=latent_size)
    for batch in (1, 7):
        q = made(torch.randn(batch, 5))
        assert q.batch_shape == (batch,)
        assert q.event_shape == (latent_size,)
        assert q.mean.shape == (batch, latent_size)
        assert q.rsample().shape == (batch, latent_size)
        assert q.rsample((4,)).shape == q.sample((4,)).shape == (4, batch, latent_size)


@pytest.mark.parametrize("posterior", options("posterior"))
def test_a_draw_has_gradients_to_every_weight_and_to_the_features(posterior: str) -> None:
    made = part_of("posterior", posterior, features=5, latent_size=3)
    h = torch.randn(7, 5, requires_grad=True)
    made(h).rsample().square().sum().backward()
    for name, tensor in [("h", h), *made.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name
    assert made(h).sample().grad_fn is None, "draws that are not for training carry none"


@pytest.mark.parametrize("posterior", options("posterior"))
def test_draws_scatter_around_the_mean(posterior: str) -> None:
    q = part_of("posterior", posterior, features=5, latent_size=3)(torch.randn(7, 5))
    draws = q.sample((4000,))
    # Five standard errors; the added constant is single precision's, for a posterior that does not scatter.
    assert ((draws.mean(0) - q.mean).abs() <= 5 * draws.std(0) / 4000**0.5 + 1e-5).all()


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("posterior", options("posterior"))
def test_its_density_is_finite_where_it_has_one_however_large_the_features(posterior: str, scale: float) -> None:
    made = part_of("posterior", posterior, features=5, latent_size=3)
    q = made(scale * torch.randn(7, 5))
    if made.has_density:
        assert q.log_prob(q.sample((2,))).shape == (2, 7)
        assert q.log_prob(q.sample()).isfinite().all()
    else:
        with pytest.raises(NotImplementedError):
            q.log_prob(q.sample())
