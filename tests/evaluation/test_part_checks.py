"""What an own part gives is checked once, with a line that names its class and says what came and what is wanted."""

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import autoencoder, brief_sampler, part_of, untrained
from latentbench.errors import UserError
from latentbench.evaluation.build import build
from latentbench.evaluation.part_checks import check_kind, check_measuring_parts, check_model_at_first_use
from latentbench.metrics.measurements import Estimate
from latentbench.models.gan import GAN
from latentbench.regularizers.base import Latents, Regularizer

DATA = few_digits()
D = 3  # latent size


def given(value: Any) -> Callable[..., Any]:
    """A method that gives this whatever it is given."""
    return lambda *_: value


def normal(*shape: int) -> Independent:
    return Independent(Normal(torch.zeros(shape), torch.ones(shape)), 1)


X = some_images(DATA)
B = len(X)
WRONG = {
    "backbone.encoder": (
        torch.ones(B, 5),
        rf"MLPBackbone\.encoder gives a tensor of shape \({B}, 5\): give .* \({B}, 16\)",
    ),
    "backbone.decoder": (
        torch.ones(B, 64),
        rf"MLPBackbone\.decoder gives a tensor of shape \({B}, 64\): .* \({B}, 1, 8, 8\)",
    ),
    "posterior": (normal(B, D + 1), rf"GaussianPosterior\.forward gives .*event shape \({D + 1},\): .*\({D},\)$"),
    "prior": (normal(1, D), r"NormalPrior\.forward gives a distribution with batch shape \(1,\) .* batch shape \(\)"),
    "likelihood": (normal(B, 64), rf"GaussianLikelihood\.forward gives .* batch shape \({B},\) .*\(1, 8, 8\)$"),
    "regularizer": (torch.ones(B), rf"KullbackLeibler\.forward gives a tensor of shape \({B},\): give .* \(\)$"),
}


@pytest.mark.parametrize("part", WRONG)
def test_a_part_that_gives_something_else_is_named_when_it_is_first_used(part: str) -> None:
    output, line = WRONG[part]
    model = autoencoder(DATA, latent_size=D)
    model.get_submodule(part).forward = given(output)
    check_model_at_first_use(model, DATA.shape)
    with pytest.raises(UserError, match=line):
        model.terms(X)


@pytest.mark.parametrize("method", ["vae", "factor_vae", "vampprior_vae", "svae", "vq_vae", "gan"])
def test_the_checks_draw_nothing_change_nothing_and_are_gone_after_the_first_use(method: str) -> None:
    def used(*, checked: bool) -> Any:
        model = untrained(DATA, f"method={method}")
        if checked:
            check_model_at_first_use(model, DATA.shape)
        torch.manual_seed(0)
        if isinstance(model, GAN):
            model.generator_loss(model.generate(B))
        else:
            model.terms(X)
        assert not any(module._forward_hooks for module in model.modules())
        return torch.rand(1), model.state_dict()

    (random, state), (random_unchecked, state_unchecked) = used(checked=True), used(checked=False)
    assert torch.equal(random, random_unchecked)
    assert all(torch.equal(state[name], state_unchecked[name]) for name in state_unchecked)


def test_a_regularizer_with_parameters_needs_a_critic_loss_and_an_annealing_gives_what_it_gets() -> None:
    model = autoencoder(DATA)
    model.regularizer.critic = nn.Linear(2, 1)
    with pytest.raises(UserError, match="KullbackLeibler has parameters and no critic_loss"):
        check_model_at_first_use(model, DATA.shape)
    model = autoencoder(DATA)
    model.annealing = lambda regularization, progress: regularization[None]  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"of a scalar gives a tensor of shape \(1,\): give a tensor of shape \(\)"):
        check_model_at_first_use(model, DATA.shape)


class Undeclared(Regularizer):
    """A regularizer that does not say how it trains a prior."""

    def forward(self, latents: Latents) -> Tensor:
        return latents.z.square().mean()


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (f"regularizer._target_={__name__}.Undeclared", "Undeclared has no trains_prior: set it in the class"),
        ("regularizer._target_=builtins.dict", "dict is no Regularizer: subclass Regularizer"),
        ("likelihood._target_=builtins.dict", "dict is no Likelihood: subclass Likelihood"),
    ],
)
def test_a_part_of_another_kind_or_without_what_its_contract_has_it_set_is_one_line(part: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        untrained(DATA, "regularizer=none", "posterior=dirac", part)


def without_name(features: nn.Module) -> None:
    del features.name


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without_name, "has no name: set it in the constructor"),
        (lambda it: it.train(), "is in training mode: end its constructor with self"),
        (lambda it: setattr(it, "forward", given(torch.ones(2, 8, 8))), r"gives .* \(2, 8, 8\): give .* \(2, 64\)"),
        (lambda it: setattr(it, "forward", given(torch.ones(2, 64) / 0)), "not finite numbers"),
    ],
)
def test_features_are_checked_before_training(change: Callable[[Any], Any], line: str) -> None:
    features = part_of("features", "pixels", data_name="digits", shape=DATA.shape)
    parts = {"samplers": {}, "metrics": {}, "features": {"pixels": features}}
    check_measuring_parts(parts, DATA)
    change(features)
    with pytest.raises(UserError, match=f"PixelFeatures.*{line}"):
        check_measuring_parts(parts, DATA)


@pytest.mark.parametrize(
    ("group", "line"), [("samplers", "no Sampler: subclass"), ("metrics", "no Metric"), ("features", "no Features")]
)
def test_what_is_no_part_of_its_kind_is_refused_before_training(group: str, line: str) -> None:
    parts: dict[str, Any] = {"samplers": {}, "metrics": {}, "features": {}}
    parts[group] = {"own": object()}
    with pytest.raises(UserError, match=f"is {line}"):
        check_measuring_parts(parts, DATA)
    with pytest.raises(UserError, match="object is no Module: subclass Module"):
        check_kind(object(), nn.Module)


@pytest.mark.parametrize(
    ("draws", "line"),
    [
        (torch.ones(4, D + 1), rf"gives a tensor of shape \(4, {D + 1}\), .* give a tensor of shape \(4, {D}\)"),
        (torch.ones(4, D).double(), r"gives .*torch\.float64 on cpu: give .* torch\.float32 on cpu"),
        ([1.0], "gives list: give a tensor"),
    ],
)
def test_draws_of_a_sampler_are_checked(draws: Any, line: str) -> None:
    sampler, latents = brief_sampler("gaussian"), torch.randn(50, D)
    sampler.fit(prior=normal(D), latents=latents, seed=0)
    assert sampler.checked_draw(4, prior=normal(D), latents=latents).shape == (4, D)
    sampler.draw = given(draws)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=rf"GaussianSampler\.draw {line}"):
        sampler.checked_draw(4, prior=normal(D), latents=latents)


@pytest.mark.parametrize(
    ("estimates", "line"),
    [
        (0.5, "gives float: give a dict with an Estimate of rate"),
        ({}, "gives an empty dict: give a dict"),
        ({"blur": Estimate(torch.ones(()), None)}, "gives blur: give a dict with an Estimate of rate"),
        ({"rate": torch.ones(())}, "gives a Tensor for rate: give an Estimate"),
        ({"rate": Estimate(torch.ones(2), None)}, r"estimates rate by a tensor of shape \(2,\)"),
        ({"rate": Estimate(torch.ones(()), 0.5)}, r"estimates rate by 0\.5: give a tensor that is a scalar"),
    ],
)
def test_what_a_metric_computes_is_checked(estimates: Any, line: str) -> None:
    metric = part_of("metric", "rate")
    metric.compute = given(estimates)
    with pytest.raises(UserError, match=rf"Rate\.compute {line}"):
        metric.checked_estimates()


def test_a_class_whose_module_is_loaded_again_is_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        module = types.ModuleType("mine")
        module.Mine = type("Mine", (), {})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "mine", module)
        assert type(build(OmegaConf.create({"_target_": "mine.Mine"}))) is module.Mine


def test_classes_that_settings_name_are_built_too() -> None:
    inner = {"_target_": "types.SimpleNamespace", "x": 1}
    built = build(OmegaConf.create({"_target_": "types.SimpleNamespace", "one": inner, "more": [{"deep": inner}]}), y=2)
    assert (built.one.x, built.more[0]["deep"].x, built.y) == (1, 1, 2)
