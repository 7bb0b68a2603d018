"""The step of a training: chunks of batches, and the optimizer."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed
from latentbench.data import base
from latentbench.errors import UserError
from latentbench.evaluation.build import build_model
from latentbench.optimizers.adam import LeanAdam
from latentbench.running.train import fit


def trained(method: str, folder: Path, *settings: str) -> dict[str, Tensor]:
    """Weights after three epochs of three batches each."""
    torch.manual_seed(0)
    config = composed(f"method={method}", "data.batch_size=16", "trainer.max_epochs=3", "logger=none", *settings)
    model = build_model(config, few_digits())
    torch.manual_seed(1)
    fit(config, model, few_digits(), folder)
    return model.state_dict()


@pytest.mark.parametrize("method", ["cyclical_vae", "aae", "wgan_gp"])  # a schedule, a critic, players in turns
def test_chunks_of_any_size_give_the_same_bits(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_one_chunk = trained(method, tmp_path)
    for size in (1, 2):
        monkeypatch.setattr(base, "CHUNK", size)
        for name, weight in trained(method, tmp_path).items():
            assert torch.equal(weight, of_one_chunk[name]), (size, name)


def test_a_limit_counts_batches_and_not_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", 2)
    limited = trained("vae", tmp_path, "+trainer.limit_train_batches=3")
    assert all(torch.equal(weight, limited[name]) for name, weight in trained("vae", tmp_path).items())
    fewer = trained("vae", tmp_path, "+trainer.limit_train_batches=2")
    assert not all(torch.equal(weight, fewer[name]) for name, weight in limited.items())


def test_a_share_of_the_batches_is_refused_since_it_would_be_one_of_the_chunks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.limit_train_batches=0\.5: give a number of batches"):
        trained("vae", tmp_path, "+trainer.limit_train_batches=0.5")


def test_adam_has_the_bits_of_torchs_also_without_some_gradients_and_after_loading() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(size, requires_grad=True) for size in ((7, 5), (33,), (256, 64))]
    ours = LeanAdam(weights, lr=0.01, betas=(0.5, 0.9))
    copies = [weight.detach().clone().requires_grad_() for weight in weights]
    theirs = torch.optim.Adam(copies, lr=0.01, betas=(0.5, 0.9), fused=True)
    for step in range(12):
        for index, (one, other) in enumerate(zip(weights, copies, strict=True)):
            one.grad = None if step in (0, 5) and index == 1 else torch.randn_like(one)
            other.grad = None if one.grad is None else one.grad.clone()
        ours.step()
        theirs.step()
        assert all(torch.equal(one, other) for one, other in zip(weights, copies, strict=True)), step
        if step == 8:
            state = copy.deepcopy(ours.state_dict())
            ours = LeanAdam(weights, lr=0.01, betas=(0.5, 0.9))
            ours.load_state_dict(state)
    for one, other in zip(ours.state_dict()["state"].values(), theirs.state_dict()["state"].values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_adam_undoes_the_scale_of_gradients_and_skips_infinite_ones_as_torchs_does() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(size, requires_grad=True) for size in ((7, 5), (33,))]
    copies = [weight.detach().clone().requires_grad_() for weight in weights]
    optimizers = [LeanAdam(weights, lr=0.01), torch.optim.Adam(copies, lr=0.01, fused=True)]
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in optimizers]
    for step in range(8):
        factors = [torch.full_like(weight, torch.inf if step == 4 else 1.0) for weight in weights]
        for optimizer, scaler, parameters in zip(optimizers, scalers, (weights, copies), strict=True):
            optimizer.zero_grad()
            losses = [(weight.square() * factor).sum() for weight, factor in zip(parameters, factors, strict=True)]
            scaler.scale(torch.stack(losses).sum()).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
        assert all(torch.equal(one, other) for one, other in zip(weights, copies, strict=True)), step
    assert all(weight.isfinite().all() for weight in weights)
