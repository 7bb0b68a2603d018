"""What the parts of a run give is checked against their contracts, before training or when it is first used."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_origin

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.annealing.base import Annealing
from latentbench.backbones.base import Backbone
from latentbench.data.base import ImageData, to_float
from latentbench.errors import UserError
from latentbench.features.base import Features
from latentbench.likelihoods.base import Likelihood
from latentbench.metrics.base import Metric
from latentbench.models.autoencoder import Autoencoder
from latentbench.models.base import GenerativeModel
from latentbench.objectives.base import Objective
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Regularizer
from latentbench.samplers.base import Sampler

# Part of a model -> the class of its contract.
CONTRACTS = {
    "backbone": Backbone,
    "posterior": Posterior,
    "prior": Prior,
    "regularizer": Regularizer,
    "likelihood": Likelihood,
    "objective": Objective,
    "annealing": Annealing,
}
IMAGES = 2  # of which features are computed for the check


def check_kind(part: Any, contract: type) -> None:
    """Raises: UserError if a part does not subclass the class of its contract, or lacks what that has it set."""
    name = type(part).__name__
    if not isinstance(part, contract):
        raise UserError(f"{name} is no {contract.__name__}: subclass {contract.__name__}")
    for attribute, annotation in contract.__annotations__.items():
        origin: Any = get_origin(annotation)
        if origin is ClassVar and not hasattr(part, attribute):
            raise UserError(f"{name} has no {attribute}: set it in the class, as {contract.__name__} says")


def check_measuring_parts(parts: Mapping[str, Any], data: ImageData) -> None:
    """Check samplers and metrics by their class, and features by those of a few images. Raises: UserError."""
    for sampler in parts["samplers"].values():
        check_kind(sampler, Sampler)
    for metric in parts["metrics"].values():
        check_kind(metric, Metric)
    for features in parts["features"].values():
        check_features(features, data)


def check_features(features: Any, data: ImageData) -> None:
    """Raises: UserError unless features are finite rows of the declared size, computed in evaluation mode."""
    check_kind(features, Features)
    name = type(features).__name__
    for attribute in ("name", "size"):
        if not hasattr(features, attribute):
            raise UserError(f"{name} has no {attribute}: set it in the constructor")
    if features.training:
        raise UserError(f"{name} is in training mode: end its constructor with self.requires_grad_(False).eval()")
    images = to_float(data.splits.images["train"][:IMAGES], "none", None)
    with torch.no_grad():
        rows = features(images)
    _compare(f"{name}.forward", rows, _tensor((len(images), features.size)))
    if not rows.isfinite().all():
        raise UserError(f"{name}.forward gives features of real images that are not finite numbers")


def check_model_at_first_use(model: GenerativeModel, shape: tuple[int, int, int]) -> None:
    """Have the first output of each part of a model checked, which costs later steps nothing.

    shape: (C, H, W) of the images
    Raises: UserError, now or when the part is first used.
    """
    backbone, prior = model.backbone, model.prior
    name = type(backbone).__name__
    _check_first_output(backbone.encoder, f"{name}.encoder", lambda x: _tensor((len(x), backbone.features)))
    _check_first_output(backbone.decoder, f"{name}.decoder", lambda z: _tensor((len(z), *backbone.raw_shape)))
    of_latents = model.posterior if isinstance(model, Autoencoder) and prior.space is None else prior
    _check_first_output(prior, _forward(prior), lambda _: _distribution((), (of_latents.coordinates,)))
    if not isinstance(model, Autoencoder):
        return
    q, p, r = model.posterior, model.likelihood, model.regularizer
    _check_first_output(q, _forward(q), lambda raw: _distribution((len(raw),), (q.coordinates,)))
    _check_first_output(p, _forward(p), lambda raw: _distribution(raw.shape[:-3], shape))
    _check_first_output(r, _forward(r), lambda _: _tensor(()))
    if any(True for _ in r.parameters()) and type(r).critic_loss is Regularizer.critic_loss:
        raise UserError(f"{type(r).__name__} has parameters and no critic_loss, which alone trains them: implement it")
    annealing = model.annealing
    _compare(f"{type(annealing).__name__} of a scalar", annealing(torch.ones(()), 0.5), _tensor(()))


def _check_first_output(module: nn.Module, name: str, wanted: Callable[[Any], str]) -> None:
    """wanted: a description of the output, given the input"""

    def check(module: nn.Module, inputs: tuple[Any], output: Any) -> None:
        handle.remove()
        _compare(name, output, wanted(*inputs))

    handle = module.register_forward_hook(check)


def _compare(name: str, output: Any, wanted: str) -> None:
    if isinstance(output, Tensor):
        came = _tensor(output.shape)
    elif isinstance(output, Distribution):
        came = _distribution(output.batch_shape, output.event_shape)
    else:
        came = f"a {type(output).__name__}"
    if came != wanted:
        raise UserError(f"{name} gives {came}: give {wanted}")


def _forward(part: nn.Module) -> str:
    return f"{type(part).__name__}.forward"


def _tensor(shape: tuple[int, ...]) -> str:
    return f"a tensor of shape {tuple(shape)}"


def _distribution(batch: tuple[int, ...], event: tuple[int, ...]) -> str:
    return f"a distribution with batch shape {tuple(batch)} and event shape {tuple(event)}"
