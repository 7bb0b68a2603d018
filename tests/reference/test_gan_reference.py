"""Losses and steps of the adversarial models, written out, with each backbone they may be given."""

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.backbones.resnet import ResidualBlock
from latentbench.contracts.images import GivenImages, few_digits, shown_to_trainer, some_images
from latentbench.contracts.options import composed, part_of
from latentbench.errors import Refused, UserError
from latentbench.evaluation.build import build_model, build_seeded_model
from latentbench.models.gan import GAN
from latentbench.models.wasserstein_gan import WassersteinGAN
from latentbench.running.train import fit

BACKBONES = {
    "linear": ["backbone=linear"],
    "mlp": ["backbone=mlp", "backbone.hidden=[16]"],
    "conv": ["backbone=conv", "backbone.channels=[4,8]", "backbone.hidden=16"],
    "resnet": ["backbone=resnet", "backbone.channels=[4,32]", "backbone.hidden=16"],
}
METHODS = ("gan", "wgan_gp", "hinge_gan")
WITH_CRITIC = ("wgan_gp", "hinge_gan")
DATA = few_digits()  # 40 of them in batches of 16: 3 batches an epoch, the last of 8


def config_of(method: str, backbone: str = "mlp", *overrides: str) -> Any:
    return composed(f"method={method}", *BACKBONES[backbone], "logger=none", *overrides)


def model_of(method: str, backbone: str = "mlp", *overrides: str, data: Any = DATA) -> Any:
    torch.manual_seed(0)
    return build_model(config_of(method, backbone, *overrides), data)


def scoring(model: GAN, monkeypatch: pytest.MonkeyPatch) -> None:
    """T(x) = the mean of an image's pixels: a discriminator of known verdicts."""
    monkeypatch.setattr(model, "discriminate", lambda x: x.mean((1, 2, 3)).unsqueeze(1))


def images_of_mean(*means: float) -> Tensor:
    return torch.tensor(means).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


REAL, MADE = (3.0, 0.5, -2.0), (-4.0, -0.25, 1.0)


def test_the_losses_of_known_verdicts_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def log_sigmoid(t: float) -> float:
        return -math.log(1 + math.exp(-t))

    written_out = {
        "gan": (
            -sum(log_sigmoid(t) for t in REAL) / 3 - sum(math.log(1 - 1 / (1 + math.exp(-t))) for t in MADE) / 3,
            -sum(log_sigmoid(t) for t in MADE) / 3,
        ),
        # margins: 0, 0.5 and 3 of the real ones, 0, 0.75 and 2 of the others
        "hinge_gan": (3.5 / 3 + 2.75 / 3, 3.25 / 3),
        # mean verdicts 0.5 and -3.25 / 3; the slope of a mean of 64 pixels is sqrt(64) / 64
        "wgan_gp": (-3.25 / 3 - 0.5 + 10 * (1 / 8 - 1) ** 2, 3.25 / 3),
    }
    for method, (discriminator, generator) in written_out.items():
        model = model_of(method)
        scoring(model, monkeypatch)
        made = model.discriminator_loss(images_of_mean(*REAL), images_of_mean(*MADE))
        assert made.item() == pytest.approx(discriminator, rel=1e-5), method
        assert model.generator_loss(images_of_mean(*MADE)).item() == pytest.approx(generator, rel=1e-5), method


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights_length() -> None:
    model = model_of("wgan_gp", "linear")
    (weight,) = model.verdict.parameters()
    real, made = some_images(DATA), torch.rand(16, 1, 8, 8)
    for length in (0.25, 1.0, 3.0):
        weight.data *= length / weight.data.norm()
        penalty = model.gradient_penalty(real, made)
        torch.testing.assert_close(penalty, torch.tensor((length - 1) ** 2), atol=1e-6, rtol=1e-5)
        (slope,) = torch.autograd.grad(penalty, weight)
        torch.testing.assert_close(slope, 2 * (length - 1) * weight.data / length, atol=1e-5, rtol=1e-4)
        distance = ((real.mean(0) - made.mean(0)) * weight.view(1, 8, 8)).sum()
        loss = model.discriminator_loss(real, made)
        torch.testing.assert_close(loss, 10 * penalty - distance, atol=1e-5, rtol=1e-4)


def test_the_penalty_is_taken_anywhere_between_an_image_and_one_that_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of("wgan_gp")
    monkeypatch.setattr(model, "discriminate", lambda x: x.square().sum((1, 2, 3)) / 2)
    real, made = torch.ones(20_000, 1, 8, 8), torch.zeros(20_000, 1, 8, 8)
    # The slope at e * (1, ..., 1) is 8 e long: the integral of (8 e - 1)^2 over e in [0, 1] is 64/3 - 8 + 1.
    # Of one draw (8 e - 1)^2 has a standard deviation of about 15, of the mean 0.11.
    assert model.gradient_penalty(real, made).item() == pytest.approx(64 / 3 - 7, abs=0.5)
    # On the line from 1 to 1 there is no other place.
    assert model.gradient_penalty(real, real).item() == pytest.approx(49)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_penaltys_gradient_reaches_the_critics_weights_as_differences_say(backbone: str) -> None:
    model = model_of("wgan_gp", backbone).double()
    real, made = some_images(DATA).double(), torch.rand(16, 1, 8, 8, dtype=torch.float64)
    weights = [*model.backbone.encoder.parameters(), *model.verdict.parameters()]
    direction = [torch.randn_like(weight) for weight in weights]

    def penalty() -> Tensor:
        torch.manual_seed(1)
        value: Tensor = model.gradient_penalty(real, made)
        return value

    gradients = torch.autograd.grad(penalty(), weights, allow_unused=True)  # of the last bias there is none
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None)
    h, ends = 1e-6, []
    for sign in (1, -2):
        for weight, d in zip(weights, direction, strict=True):
            weight.data += sign * h * d
        ends.append(penalty())
    torch.testing.assert_close(along, (ends[0] - ends[1]) / (2 * h), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_critic_without_any_slope_has_a_penalty_of_1_and_finite_gradients(backbone: str) -> None:
    model = model_of("wgan_gp", backbone)
    model.verdict.weight.data.zero_()
    penalty = model.gradient_penalty(torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8))
    assert penalty == 1
    penalty.backward()
    assert model.verdict.weight.grad.isfinite().all()


def written_out(model: Any, batches: list[Tensor], *, steps: int, betas: tuple[float, float]) -> None:
    """Train as the papers' algorithms do, with our order of steps: the generator's after the first of the critic's."""

    def score(x: Tensor) -> Tensor:
        t: Tensor = model.verdict(model.backbone.encoder(x))
        return t

    def made(n: int) -> Tensor:
        return model.backbone.decoder(torch.randn(n, 8)).sigmoid()

    def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
        if isinstance(model, WassersteinGAN):
            distance = score(real).mean() - score(fake).mean()
            share = torch.rand(len(real), 1, 1, 1)
            between = (share * real + (1 - share) * fake).requires_grad_()
            slope = torch.autograd.grad(score(between).sum(), between, create_graph=True)[0]
            return 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean() - distance
        if steps == 1:
            return nn.functional.softplus(-score(real)).mean() + nn.functional.softplus(score(fake)).mean()
        return (1 - score(real)).relu().mean() + (1 + score(fake)).relu().mean()

    critic = [*model.backbone.encoder.parameters(), *model.verdict.parameters()]
    rates = {"lr": model.learning_rate, "betas": betas, "fused": True}
    adams = [torch.optim.Adam(weights, **rates) for weights in (critic, model.backbone.decoder.parameters())]
    for i, real in enumerate(batches):
        fake = made(len(real))
        for adam in adams[: 1 if i % steps else 2]:
            if adam is adams[0]:
                loss = critic_loss(real, fake.detach())
            elif steps == 1:
                loss = nn.functional.softplus(-score(fake)).mean()
            else:
                loss = -score(made(len(real))).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    ("method", "steps", "betas"), [("gan", 1, (0.0, 0.999)), ("wgan_gp", 5, (0.0, 0.9)), ("hinge_gan", 5, (0.0, 0.9))]
)
def test_training_is_the_algorithm_written_out_across_epochs(
    method: str, steps: int, betas: tuple[float, float], backbone: str, tmp_path: Path
) -> None:
    config = config_of(method, backbone, "trainer.max_epochs=3")
    data = few_digits()
    model = model_of(method, backbone, data=data)
    by_hand = copy.deepcopy(model)
    loader = shown_to_trainer(data).train_batches()
    batches = [batch for _ in range(3) for batch in loader]
    assert [len(batch) for batch in batches] == [16, 16, 8] * 3
    torch.manual_seed(1)
    written_out(by_hand, batches, steps=steps, betas=betas)
    torch.manual_seed(1)
    fit(config, model, data, tmp_path)
    for (name, one), other in zip(model.state_dict().items(), by_hand.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


class Referee:
    """Watches who moves at each step and which images each player is shown."""

    def __init__(self, model: GAN, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moves: list[str] = []
        self.shown: list[Tensor] = []
        halves = {"generator": model.backbone.decoder, "critic": nn.ModuleList([model.backbone.encoder, model.verdict])}
        step, critics, generators = model.minimize, model.discriminator_loss, model.generator_loss

        def watched(loss: Tensor, *, player: str) -> None:
            before = {name: [weight.clone() for weight in half.parameters()] for name, half in halves.items()}
            step(loss, player=player)
            moved = [
                name
                for name, half in halves.items()
                if any(not torch.equal(a, b) for a, b in zip(half.parameters(), before[name], strict=True))
            ]
            self.moves.append(" and ".join(moved))
            assert moved == [player.replace("discriminator", "critic")]

        def critics_view(real: Tensor, made: Tensor) -> Tensor:
            self.shown.append(made.detach().clone())
            return critics(real, made)

        def generators_view(made: Tensor) -> Tensor:
            self.shown.append(made.detach().clone())
            return generators(made)

        monkeypatch.setattr(model, "minimize", watched)
        monkeypatch.setattr(model, "discriminator_loss", critics_view)
        monkeypatch.setattr(model, "generator_loss", generators_view)


@pytest.mark.parametrize("backbone", ["linear", "resnet"])  # one whose critic is the verdict alone, and the deepest
@pytest.mark.parametrize(
    ("method", "steps"), [("gan", 1), ("wgan_gp", 5), ("wgan_gp", 2), ("hinge_gan", 1), ("hinge_gan", 5)]
)
def test_each_step_moves_its_player_alone_and_the_generators_comes_first_and_every_so_many_batches(
    method: str, steps: int, backbone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = [] if method == "gan" else [f"model.critic_steps={steps}"]
    config = config_of(method, backbone, *asked, "trainer.max_epochs=3")
    model = model_of(method, backbone, *asked)
    referee = Referee(model, monkeypatch)
    fit(config, model, DATA, tmp_path)
    turns = [["critic", "generator"] if i % steps == 0 else ["critic"] for i in range(9)]
    assert referee.moves == list(itertools.chain(*turns))
    # The plain GAN shows both players the same images; a critic's generator has draws of its own.
    assert torch.equal(referee.shown[0], referee.shown[1]) == (method == "gan")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_all_layers_of_the_discriminator_and_no_other_have_a_spectral_norm_of_1(backbone: str, tmp_path: Path) -> None:
    config = config_of("hinge_gan", backbone, "trainer.max_epochs=5")
    model = model_of("hinge_gan", backbone)
    fit(config, model, DATA, tmp_path)
    for name, value in largest_singular_values(model.eval()).items():
        if name.startswith("backbone.decoder"):
            assert value != pytest.approx(1, abs=1e-3), name
        else:
            # One power iteration a pass lags behind weights that move.
            assert value == pytest.approx(1, abs=0.25), name
    model.train()
    for _ in range(200):
        model.discriminate(some_images(DATA))
    settled = {n: v for n, v in largest_singular_values(model.eval()).items() if not n.startswith("backbone.decoder")}
    assert settled == pytest.approx(dict.fromkeys(settled, 1.0), abs=0.01)


def largest_singular_values(model: GAN) -> dict[str, float]:
    layers = {n: layer for n, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    assert "verdict" in layers
    return {n: torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() for n, layer in layers.items()}


EXTREMES = torch.cat([torch.zeros(9, 1, 8, 8), torch.full((8, 1, 8, 8), 255.0)]).to(torch.uint8)


@pytest.mark.parametrize(
    ("precision", "backbone"), [*itertools.product(["32-true", "bf16-mixed"], BACKBONES), ("64-true", "resnet")]
)
@pytest.mark.parametrize("method", METHODS)
def test_black_and_white_images_and_a_batch_of_one_train_in_any_precision(
    method: str, backbone: str, precision: str, tmp_path: Path
) -> None:
    splits = copy.deepcopy(DATA.splits)
    splits.images["train"] = EXTREMES  # 17, in batches of 16 and 1
    splits.labels["train"] = splits.labels["train"][: len(EXTREMES)]
    data = GivenImages(splits, name="extremes")
    steps = [] if method == "gan" else ["model.critic_steps=1"]
    config = config_of(method, backbone, *steps, "trainer.max_epochs=2", f"trainer.precision={precision}")
    model = model_of(method, backbone, *steps, data=data)
    kept = torch.float64 if precision == "64-true" else torch.float32
    losses: list[Tensor] = []
    take = model.minimize
    model.minimize = lambda loss, **player: (losses.append(loss), take(loss, **player))
    fit(config, model, data, tmp_path)
    assert len(losses) == 8
    assert all(loss.isfinite() and loss.dtype == kept for loss in losses)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


def test_under_autocast_each_player_meets_the_others_latest_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gan")
    monkeypatch.setattr(model, "manual_backward", lambda loss: loss.backward())
    x = some_images(DATA)
    with torch.autocast("cpu", torch.bfloat16):
        before = model.discriminate(x)
        model._is_scaled, model._optimizers = True, {"discriminator": torch.optim.SGD(model.parameters(), lr=1.0)}
        model.minimize(before.mean(), player="discriminator")
        after = model.discriminate(x)
    torch.testing.assert_close(after, model.discriminate(x), atol=0.05, rtol=0.05)
    assert (after < before - 0.5).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_generators_loss_teaches_a_flow_what_to_draw(method: str, tmp_path: Path) -> None:
    config = config_of(method, "mlp", "prior=flow", "trainer.max_epochs=2")
    model = model_of(method, "mlp", "prior=flow")
    learned = list(model.prior.parameters())
    model.discriminator_loss(some_images(DATA), model.generate(16).detach()).backward()
    assert all(parameter.grad is None for parameter in learned)
    model.generator_loss(model.generate(16)).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in learned)
    before = [parameter.detach().clone() for parameter in learned]
    fit(config, model, DATA, tmp_path)
    assert not any(torch.equal(old, new) for old, new in zip(before, learned, strict=True))


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
@pytest.mark.parametrize("method", METHODS)
def test_a_prior_that_could_not_learn_is_refused_with_priors_that_fit(method: str, prior: str) -> None:
    with pytest.raises(Refused, match="prior=normal"):
        model_of(method, "mlp", f"prior={prior}")


@pytest.mark.parametrize(
    ("method", "given"),
    [(method, f"model.critic_steps={steps}") for method in WITH_CRITIC for steps in (0, 1.5, "true")]
    + [("wgan_gp", "model.penalty=-1"), ("wgan_gp", "model.penalty=much"), ("hinge_gan", "model.learning_rate=0")]
    + [("gan", "model.learning_rate=-1")],
)
def test_a_setting_without_a_meaning_is_named(method: str, given: str) -> None:
    with pytest.raises(UserError, match=given.partition("=")[0]):
        model_of(method, "mlp", given)


@pytest.mark.parametrize("method", METHODS)
def test_draws_of_black_and_white_pixels_are_refused_and_fixed_ones_are_not(method: str) -> None:
    with pytest.raises(Refused, match=r"compare its images with the grey ones: take data\.binarize=none"):
        build_seeded_model(config_of(method), few_digits(binarize="dynamic"))
    build_seeded_model(config_of(method), few_digits(binarize="threshold"))


@pytest.mark.parametrize("given", ["channels=[]", "channels=[0]", "hidden=0", "blocks=0", "blocks=1.5"])
def test_a_resnets_setting_without_a_meaning_is_named(given: str) -> None:
    name, _, value = given.partition("=")
    with pytest.raises(UserError, match=f"backbone.{name}"):
        part_of("backbone", "resnet", shape=(1, 8, 8), latent_size=2, **{name: eval(value)})


def test_a_residual_block_adds_to_what_it_is_given() -> None:
    block = ResidualBlock(before=4, after=4)
    x = torch.randn(2, 4, 5, 5)
    normalized = (x - x.mean((1, 2, 3), keepdim=True)) / x.var((1, 2, 3), unbiased=False, keepdim=True).sqrt()
    first, last = (layer for layer in block.branch if isinstance(layer, nn.Conv2d))
    between = first(normalized.relu())
    again = (between - between.mean((1, 2, 3), keepdim=True)) / between.var(
        (1, 2, 3), unbiased=False, keepdim=True
    ) ** 0.5
    torch.testing.assert_close(block(x), x + last(again.relu()), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (7, 1), (16, 1), (24, 1), (32, 2), (40, 2), (48, 3), (53, 1)])
def test_a_resnets_groups_hold_16_channels_or_all_there_are(channels: int, groups: int) -> None:
    block = ResidualBlock(before=channels, after=channels)
    norms = [layer for layer in block.modules() if isinstance(layer, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [groups, groups]


def test_blocks_are_counted_by_resolution() -> None:
    made = part_of("backbone", "resnet", shape=(1, 8, 8), latent_size=2, channels=[4, 8], blocks=3)
    for half in (made.encoder, made.decoder):
        assert sum(isinstance(layer, ResidualBlock) for layer in half) == 6
