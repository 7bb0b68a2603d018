"""Optimizers, learning rates, clipped and gathered gradients, averaged weights, and the end of a training."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed, options, part_of
from latentbench.errors import Diverged, UserError
from latentbench.evaluation.build import build_model
from latentbench.models.base import GenerativeModel
from latentbench.models.gan import GAN
from latentbench.models.player import PlayerMemory
from latentbench.models.recipe import convergence
from latentbench.running.train import build_recipe, check_finite, check_recipe, fit

EPOCHS = 4


def trained(method: str, folder: Path, *settings: str, checkpoint: Path | None = None) -> GenerativeModel:
    """A model after a few epochs of three batches each."""
    torch.manual_seed(0)
    brief = ("data.batch_size=16", f"trainer.max_epochs={EPOCHS}", "logger=none", "backbone.hidden=[16]")
    config = composed(f"method={method}", *brief, *settings)
    model = build_model(config, few_digits())
    torch.manual_seed(1)
    fit(config, model, few_digits(), folder, checkpoint=checkpoint)
    check_finite(model)
    return model


def test_a_model_is_a_failure_that_is_not_finite_after_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_step = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=0")
    with pytest.raises(Diverged, match=r"weights \(\S+\) are not finite after the training: take a smaller learning"):
        trained("vae", tmp_path, "model.learning_rate=1e39", *one_step)
    monkeypatch.setattr(GAN, "facts", lambda _: {"scales": {"of_pixels": math.inf}})
    with pytest.raises(Diverged, match=r"scales\.of_pixels is inf after the training"):
        trained("gan", tmp_path)


def assert_same(one: GenerativeModel, other: GenerativeModel) -> None:
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


# Optimizers against the formulas of their papers, in double precision


def reference(option: str, weight: Tensor, gradients: list[Tensor], settings: dict[str, Any]) -> Tensor:
    rate, (b1, b2) = 0.1, (0.8, 0.95)
    w, mean, square = weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight)
    decay = settings["weight_decay"]
    for t, g in enumerate(gradients, 1):
        if option == "sgd":
            mean = g + decay * w if t == 1 else b1 * mean + g + decay * w
            w = w - rate * mean
            continue
        g = g + decay * w if option == "adam" else g
        w = w if option == "adam" else w * (1 - rate * decay)
        mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
        step = mean / (1 - b1**t)
        limit = 2 / (1 - b2) - 1
        rho = limit - 2 * t * b2**t / (1 - b2**t)
        if option == "radam" and rho <= 5:
            w = w - rate * step
            continue
        if option == "radam":
            step = step * math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
        w = w - rate * step / ((square / (1 - b2**t)).sqrt() + settings["eps"])
    return w


@pytest.mark.parametrize("option", options("optimizer"))
def test_an_optimizer_takes_the_steps_of_its_paper(option: str) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"weight_decay": 0.03} | ({} if option == "sgd" else {"eps": 1e-4})
    if option == "radam":  # torch adds eps before the correction of the mean square, in place of after it
        settings["eps"] = 1e-15
    start = torch.randn(5, dtype=torch.float64)
    gradients = [torch.randn(5, dtype=torch.float64) for _ in range(12)]
    weight = start.clone().requires_grad_()
    made = part_of("optimizer", option, **settings).make([weight], learning_rate=0.1, betas=(0.8, 0.95))
    for gradient in gradients:
        weight.grad = gradient.clone()
        made.step()
    expected = reference(option, start, gradients, settings)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=1e-9)
    assert int(made.state[weight]["step"]) == 12


@pytest.mark.parametrize("option", options("optimizer"))
def test_keys_of_an_optimizer_go_before_the_models_and_reach_every_player(option: str, tmp_path: Path) -> None:
    own = ("optimizer.momentum=0.7",) if option == "sgd" else ("optimizer.betas=[0.7,0.8]",)
    for method, usual in {"aae": 0.0, "wae_gan": 0.5, "factor_vae": 0.9, "gan": 0.0}.items():
        model = build_model(composed(f"method={method}"), few_digits())
        for settings, momentum in ((own, 0.7), ((), usual)):
            model.recipe = build_recipe(composed(f"optimizer={option}", *settings))
            made = model.configure_optimizers()
            assert len(made) == 2
            for optimizer in made:
                group = optimizer.param_groups[0]
                assert (group["momentum"] if option == "sgd" else group["betas"][0]) == momentum


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.betas=[0.9]", "give two numbers"),
        ("optimizer.betas=[0.9,1]", "optimizer.betas=1"),
        ("optimizer.eps=0", "optimizer.eps=0"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1"),
        ("optimizer=sgd optimizer.momentum=1", "optimizer.momentum=1"),
        ("optimizer=sgd optimizer.nesterov=yes_please", "give true or false"),
        ("schedule=step schedule.at=0.5", "give a list of shares"),
        ("schedule=step schedule.at=[1.5]", "schedule.at=1.5"),
        ("schedule=warmup_cosine schedule.warmup=1", "schedule.warmup=1"),
        ("schedule=plateau schedule.patience=0", "schedule.patience=0"),
        ("trainer.gradient_clip=0", "trainer.gradient_clip=0"),
        ("trainer.ema=1", "trainer.ema=1"),
        ("trainer.accumulate=0", "trainer.accumulate=0"),
        ("trainer.patience=0", "trainer.patience=0"),
        ("trainer.keep=all", "trainer.keep=all: choose one of last, best"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_recipe(composed(*override.split()))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# Learning rates


def factors(option: str, n: int = 100, **settings: Any) -> list[float]:
    made = part_of("schedule", option, **settings)
    return [made.factor(t / n, ()) for t in range(n)]


@pytest.mark.parametrize("option", options("schedule"))
def test_a_schedule_says_whether_it_follows_the_progress(option: str) -> None:
    assert part_of("schedule", option).follows_progress == (len(set(factors(option))) > 1)


def test_learning_rates_follow_their_schedules() -> None:
    assert set(factors("constant")) == {1.0}
    cosine = factors("warmup_cosine", warmup=0.2, start=0.1, end=0.05)
    assert cosine[0] == 0.1
    assert cosine[10] == pytest.approx(0.55)
    assert cosine[20] == 1
    assert cosine[60] == pytest.approx(0.525)
    assert cosine[80] == pytest.approx(0.05 + 0.95 * (1 + math.cos(0.75 * math.pi)) / 2)
    assert factors("warmup_cosine", warmup=0, start=0.1, end=0.0)[0] == 1
    steps = factors("step", at=[0.5, 0.75], ratio=0.1)
    assert (steps[49], steps[50], steps[74]) == (1, 0.1, 0.1)
    assert steps[75] == pytest.approx(0.01)
    plateau = part_of("schedule", "plateau", patience=2, ratio=0.5, end=0.2)
    losses = [5, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3]
    found = [plateau.factor(0.5, losses[:n]) for n in range(len(losses) + 1)]
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("method", ["aae", "wgan_gp"])
def test_a_schedule_sets_the_learning_rates_of_all_players(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []
    learn = GenerativeModel.accumulate_terms

    def spy(self: GenerativeModel, stage: str, terms: dict[str, Tensor], n: int) -> None:
        if stage == "train":
            seen.append([float(o.param_groups[0]["lr"]) / o.defaults["lr"] for o in self.trainer.optimizers])
        learn(self, stage, terms, n)

    monkeypatch.setattr(GenerativeModel, "accumulate_terms", spy)
    ordinary = trained(method, tmp_path, "schedule=warmup_cosine", "schedule.warmup=0.5")
    expected = factors("warmup_cosine", 3 * EPOCHS, warmup=0.5)
    assert seen == [[pytest.approx(factor)] * 2 for factor in expected]
    replayed = trained(method, tmp_path, "schedule=warmup_cosine", "schedule.warmup=0.5", "replay=true")
    assert replayed.done.replay == "yes"
    for name, weight in ordinary.state_dict().items():  # a learning rate on the device is in single precision
        torch.testing.assert_close(replayed.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
    constant = trained(method, tmp_path)
    assert not torch.equal(next(constant.parameters()), next(ordinary.parameters()))


# Losses


def test_the_losses_of_an_epoch_are_means_over_images_and_not_over_batches() -> None:
    model = build_model(composed(), few_digits())
    for loss, images in ((1.0, 30), (4.0, 10)):
        model.accumulate_terms("train", {"loss": torch.tensor(loss)}, images)
    model.on_train_epoch_end()
    assert model.done.losses == {"train/loss": (30 * 1.0 + 10 * 4.0) / 40}


# Gradients


def memory_of(weight: Tensor, **settings: Any) -> PlayerMemory:
    changes = [f"trainer.{key}={value}" for key, value in settings.items()]
    return PlayerMemory([weight], build_recipe(composed(*changes)))


def test_a_long_gradient_is_shortened_to_the_norm_and_a_short_one_is_not() -> None:
    weight = torch.zeros(2, requires_grad=True)
    memory = memory_of(weight, gradient_clip=5)
    for gradient, expected in (([30.0, 40.0], [3.0, 4.0]), ([0.3, 0.4], [0.3, 0.4])):
        weight.grad = torch.tensor(gradient)
        assert memory.is_due()
        torch.testing.assert_close(weight.grad, torch.tensor(expected))


def test_gathered_gradients_make_one_step_by_their_mean() -> None:
    weight = torch.zeros(2, requires_grad=True)
    memory = memory_of(weight, accumulate=3)
    for _ in range(2):
        due = []
        for n in (1.0, 2.0, 6.0):
            weight.grad = torch.tensor([n, -n])
            due.append(memory.is_due())
        assert due == [False, False, True]
        assert weight.grad.tolist() == [3, -3]


def test_averaged_weights_weigh_each_step_by_its_age() -> None:
    weight = torch.full((3,), 100.0, requires_grad=True)
    memory = memory_of(weight, ema=0.9)
    memory.exchange()
    assert weight.tolist() == [100] * 3, "nothing is averaged before the first step"
    values = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for n, value in enumerate(values, 1):
        weight.data.copy_(value)
        memory.average()
        ages = 0.9 ** torch.arange(n - 1, -1, -1, dtype=torch.float64)
        expected = ages @ values[:n] / ages.sum()
        torch.testing.assert_close(memory.averages[0].double(), expected, rtol=1e-5, atol=1e-5)
    memory.exchange()
    torch.testing.assert_close(weight.detach(), expected.float(), rtol=1e-5, atol=1e-5)
    memory.exchange()
    torch.testing.assert_close(weight.detach(), values[-1].float())


@pytest.mark.parametrize("method", ["aae", "wgan_gp", "gan"])
def test_gathering_two_batches_equals_one_batch_of_both_in_number_of_steps(method: str, tmp_path: Path) -> None:
    single, double = trained(method, tmp_path), trained(method, tmp_path, "trainer.accumulate=2")
    for player, steps in single.budget()["steps"].items():
        assert double.budget()["steps"][player] == steps // 2


def test_the_averages_are_measured_and_validated_and_the_last_weights_are_kept(tmp_path: Path) -> None:
    for method in ("aae", "wgan_gp"):
        plain, averaged = trained(method, tmp_path), trained(method, tmp_path, "trainer.ema=0.5")
        last = averaged.last_weights
        assert last is not None
        assert all(torch.equal(weight, last[name]) for name, weight in plain.state_dict().items()), "same training"
        changed = [name for name, weight in averaged.named_parameters() if not torch.equal(weight, last[name])]
        assert changed == [name for name, _ in averaged.named_parameters()]
    plain, averaged = trained("vae", tmp_path), trained("vae", tmp_path, "trainer.ema=0.5")
    assert plain.last_weights is None
    assert plain.done.validation_losses[-1] != averaged.done.validation_losses[-1]


@pytest.mark.parametrize("settings", ["trainer.ema=0.9", "trainer.gradient_clip=0.1"])
def test_a_graph_can_hold_what_happens_on_the_device(settings: str, tmp_path: Path) -> None:
    for method in ("aae", "gan"):
        ordinary, replayed = (trained(method, tmp_path, settings, f"replay={mode}") for mode in ("false", "true"))
        assert replayed.done.replay == "yes"
        assert_same(ordinary, replayed)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [("optimizer=sgd", "SGD"), ("optimizer=radam", "RAdam"), ("trainer.accumulate=2", "trainer.accumulate")],
)
def test_what_the_processor_decides_makes_ordinary_steps(settings: str, reason: str, tmp_path: Path) -> None:
    model = trained("vae", tmp_path, settings, "model.learning_rate=1e-5", "replay=true")
    assert str(model.done.replay).startswith("no: ")
    assert reason in str(model.done.replay)


# The end of a training


def with_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    end = GenerativeModel._end_epoch
    monkeypatch.setattr(GenerativeModel, "_end_epoch", lambda self, _: end(self, losses[self.current_epoch]))


def test_a_training_ends_after_its_patience_and_the_best_weights_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_losses(monkeypatch, [3.0, 2.0, 2.5, 2.0])
    best = trained("vae", tmp_path, "trainer.keep=best")
    assert best.done.validation_losses == [3, 2, 2.5, 2]
    assert best.last_weights is not None
    plain = trained("vae", tmp_path)
    assert all(torch.equal(weight, best.last_weights[name]) for name, weight in plain.state_dict().items())
    until_best = trained("vae", tmp_path, "trainer.max_epochs=2")
    assert_same(best, until_best)
    ended = trained("vae", tmp_path, "trainer.patience=1")
    assert ended.done.validation_losses == [3, 2, 2.5]
    assert_same(ended, trained("vae", tmp_path, "trainer.max_epochs=3"))


def test_the_best_weights_are_averages_where_these_are_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_losses(monkeypatch, [3.0, 2.0, 2.5, 2.0])
    best = trained("vae", tmp_path, "trainer.keep=best", "trainer.ema=0.5")
    assert_same(best, trained("vae", tmp_path, "trainer.ema=0.5", "trainer.max_epochs=2"))


def test_learning_rates_fall_where_the_validation_loss_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_losses(monkeypatch, [1.0, 2.0, 2.0, 2.0])
    rates: list[float] = []
    set_rates = GenerativeModel._set_learning_rates

    def noted(self: GenerativeModel, factor: float) -> None:
        set_rates(self, factor)
        rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))

    monkeypatch.setattr(GenerativeModel, "_set_learning_rates", noted)
    trained("vae", tmp_path, "schedule=plateau", "schedule.patience=1", "schedule.ratio=0.1", "model.learning_rate=1")
    assert rates[::3] == pytest.approx([1, 1, 0.1, 0.01]), "three batches an epoch"


@pytest.mark.parametrize("asked", ["trainer.patience=2", "trainer.keep=best", "schedule=plateau"])
def test_what_follows_the_validation_loss_is_refused_without_one(asked: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="follows the validation loss, and GAN has none"):
        trained("gan", tmp_path, asked)


@pytest.mark.parametrize("asked", ["trainer.accumulate=2", "trainer.gradient_clip=1"])
def test_half_precision_with_scaled_gradients_is_refused(asked: str) -> None:
    model = build_model(composed(), few_digits())
    model.recipe = build_recipe(composed(asked))
    on_gpu: Any = SimpleNamespace(precision="16-mixed", limit_val_batches=1.0)  # a processor takes bf16-mixed for it
    with pytest.raises(UserError, match="take bf16-mixed"):
        check_recipe(model, on_gpu)


def test_a_training_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"took no step, since it had fewer batches than trainer\.accumulate=100"):
        trained("vae", tmp_path, "trainer.accumulate=100")


def test_convergence_is_the_fall_per_tenth_of_the_training() -> None:
    line = convergence([100.0 - n for n in range(100)])
    assert line is not None
    assert line["falling"] == pytest.approx(10)
    assert line["fallen"] == 99
    assert not line["converged"]
    decay = convergence([math.exp(-n / 5) for n in range(100)])
    assert decay is not None
    assert decay["converged"]
    rising = convergence([3.0, *[2.0] * 8, 4.0])
    assert rising == {"validation_loss": 4.0, "falling": -2.0, "fallen": 1.0, "converged": True}


def test_of_a_brief_training_or_a_loss_that_never_fell_it_cannot_be_told_whether_it_had_converged() -> None:
    brief = convergence([3.0, 2.0, 2.0])
    assert brief == {"validation_loss": 2.0, "falling": None, "fallen": 1.0, "converged": None}
    never = convergence([1.0 + n for n in range(10)])
    assert never == {"validation_loss": 10.0, "falling": -1.0, "fallen": 0.0, "converged": None}
    assert convergence([]) is None


# An interrupted training


MIXED = ("trainer.accumulate=2", "trainer.ema=0.9", "trainer.gradient_clip=1", "schedule=warmup_cosine")
CASES = [("aae", "adamw", (*MIXED, "trainer.keep=best")), ("wgan_gp", "radam", MIXED), ("gan", "sgd", MIXED)]
CASES += [("vae", "adam", ("schedule=plateau", "schedule.patience=1", "trainer.patience=2", "trainer.keep=best"))]
CASES += [("vae", "adam", ("trainer.precision=64-true", "trainer.ema=0.9"))]


@pytest.mark.parametrize(("method", "optimizer", "settings"), CASES, ids=lambda case: case if str(case) == case else "")
@pytest.mark.parametrize("mode", ["false", "true"])
def test_a_resumed_training_has_the_same_bits(
    method: str, optimizer: str, settings: tuple[str, ...], mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [3.0, 4.0, 2.0, 2.5]
    if method != "aae":
        with_losses(monkeypatch, losses)
    settings = (f"optimizer={optimizer}", f"replay={mode}", "checkpoint_seconds=0", *settings)
    whole = trained(method, tmp_path, *settings)

    class Stopped(Exception):
        pass

    def stop(self: GenerativeModel) -> None:
        if self.current_epoch == 1 and not resumed:
            raise Stopped

    for resumed in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(GenerativeModel, "on_train_epoch_start", stop)
            folder = tmp_path / "stopped"
            if resumed:
                again = trained(method, folder, *settings, checkpoint=folder / "last.ckpt")
            else:
                with pytest.raises(Stopped):
                    trained(method, folder, *settings)
    assert again.done.validation_losses == whole.done.validation_losses
    assert again.budget()["steps"] == whole.budget()["steps"]
    assert_same(whole, again)
    for name, weight in (whole.last_weights or {}).items():
        assert torch.equal(weight, (again.last_weights or {})[name])
    finished = trained(method, folder, *settings, checkpoint=folder / "last.ckpt")
    assert_same(finished, whole)
