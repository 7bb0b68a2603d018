"""A trained run, opened from its folder: draw images, encode, decode, measure."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentbench.configuration.catalogue import PARTS, option_node
from latentbench.data.base import ImageData, Split
from latentbench.data.streaming import SPLITS
from latentbench.errors import UserError, check_whole_number
from latentbench.evaluation.build import DataFacts, build, build_data, build_measuring_parts, build_model
from latentbench.evaluation.evaluate import evaluate, seeded
from latentbench.evaluation.image_input import as_images
from latentbench.metrics.inputs import CHUNK, in_chunks
from latentbench.metrics.negative_log_likelihood import importance_weights
from latentbench.models.base import Ability, GenerativeModel
from latentbench.records.measuring import Evaluation, Request, Settings, merged_settings, without_source
from latentbench.records.outside import check_unchanged
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, Record, load
from latentbench.records.run_folder import load_config

LIKELIHOOD_BATCH = 20  # images
AGAIN = "train the run again, by the command that made it with force=true"


class LogLikelihood(NamedTuple):
    """Estimates of log p(x), nats, and what is known of their Monte Carlo error; float64, (N,) each."""

    value: Tensor
    standard_error: Tensor
    pareto_shape: Tensor  # of the largest importance weights; above 1/2 their variance is infinite


class StoredRun:
    """A trained run. Model and data are loaded when they are first needed; the data only where a method needs it.

    Images may be torch tensors, numpy arrays or PIL images, uint8 or floats in [0, 1], one (C, H, W) or several
    (N, C, H, W). All is computed where the model is: `run.model.to("cuda")` moves it to a GPU.

    folder, config, record: where it lies, with what it was trained, and what was measured (`record.metrics`)
    Raises: UserError if its files do not fit together, or the model cannot do what is asked; ValueError if images or
    latents do not fit the model, or there is no such split.
    """

    def __init__(self, folder: Path, config: DictConfig, record: Record) -> None:
        self.folder = folder
        self.config = config
        self.record = record

    @classmethod
    def open(cls, folder: Path, *, data: ImageData | None = None) -> Self:
        """Open a run folder.

        data: the data of the run, if it is loaded already
        """
        config = load_config(folder)
        record = load(folder / FILE_NAME)
        if not record.is_trained:
            raise UserError(f"{folder} holds no trained run: it was {record.status} ({record.reason})")
        run = cls(folder, config, record)
        if data is not None:
            run.__dict__["data"] = data
        return run

    @cached_property
    def data(self) -> ImageData:
        """The data set of the run."""
        check_unchanged(self.config, ["data"])
        return build_data(self.config)

    @cached_property
    def model(self) -> GenerativeModel:
        """The trained model, in evaluation mode and single precision, on the CPU."""
        check_unchanged(self.config, ["model", *PARTS])
        facts = self.config.resolved
        with torch.random.fork_rng():  # initial weights, which are replaced, are drawn at random
            model = build_model(self.config, DataFacts(tuple(facts.shape), facts.train_images))
        path = self.folder / WEIGHTS_NAME
        try:
            missing, unexpected = model.load_state_dict(load_file(path), strict=False)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: {AGAIN}") from error
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read ({error}): {AGAIN}") from error
        except RuntimeError as error:
            raise UserError(f"{path} has weights of another shape than the model of this run's config") from error
        if missing or unexpected:
            names = ", ".join([*missing, *unexpected][:3])
            raise UserError(f"{path} has weights of another model than this run's config: {names} do not match")
        return model.eval()

    @torch.no_grad()
    def sample(self, n: int, *, sampler: str = "prior", seed: int = 0) -> Tensor:
        """Images (n, C, H, W) in [0, 1], decoded from latents that the sampler draws.

        sampler: an option of the group `sampler`; all but `prior` are fitted to the latents of the training images
        """
        check_whole_number("n", n, minimum=1)
        node = (self.config.get("sampler") or {}).get(sampler) or option_node("sampler", sampler)
        drawer = build(node)
        latents = None
        if drawer.needs_latents:
            self._require("encode")
            with seeded(seed, "training latents"):
                device, chunks = self.model.device, self.data.chunks("train", CHUNK)
                latents = torch.cat([self.model.posterior_distribution(x.to(device)).sample() for x in chunks])
        with seeded(seed, f"sampler {sampler}"):
            prior = self.model.prior_distribution()
            drawer.fit(prior=prior, latents=latents, seed=seed)
            return in_chunks(self.model.decode, drawer.checked_draw(n, prior=prior, latents=latents))

    @torch.no_grad()
    def encode(self, images: Any) -> Tensor:
        """The codes (N, D) of images."""
        self._require("encode")
        return in_chunks(self.model.encode, self._images(images))

    @torch.no_grad()
    def decode(self, latents: Any) -> Tensor:
        """The mean images (N, C, H, W) in [0, 1] of latents (N, D)."""
        z = torch.as_tensor(latents, dtype=torch.float32)
        size = self.model.prior_distribution().event_shape[0]
        if z.dim() != 2 or z.shape[1] != size:
            raise ValueError(f"latents must have the shape (N, {size}), not {tuple(z.shape)}")
        return in_chunks(self.model.decode, z.to(self.model.device))

    @torch.no_grad()
    def reconstruct(self, images: Any) -> Tensor:
        """Images (N, C, H, W) in [0, 1], decoded from the codes of images."""
        return self.decode(self.encode(images))

    @torch.no_grad()
    def interpolate(self, start: Any, end: Any, *, steps: int = 8) -> Tensor:
        """Images (steps, C, H, W) on the prior's path from the code of one image to that of another, both included."""
        self._require("interpolate")
        a, b = self.encode(start), self.encode(end)
        if len(a) != 1 or len(b) != 1 or steps < 2:
            raise ValueError(f"give one image as start, one as end, and 2 or more steps: {len(a)}, {len(b)}, {steps}")
        path = [self.model.prior.interpolate(a, b, t) for t in torch.linspace(0, 1, steps).tolist()]
        return self.decode(torch.cat(path))

    @torch.no_grad()
    def log_likelihood(self, images: Any, *, samples: int = 1000, seed: int = 0) -> LogLikelihood:
        """log p(x) of each image, nats: importance sampling with draws of q(z|x), a lower bound in expectation.

        Its standard error is sqrt(1/ess - 1/samples), ess the effective number of draws (delta method). It is that of
        the draws at hand, and too small for images whose weights have a heavy tail, since the largest weights are
        seldom drawn: somewhat if `pareto_shape` is above 0.5, by an unknown amount if it is above 0.7, where the
        estimate is unreliable, too. The shape is NaN for few draws, the standard error for a single one.
        Source: Burda et al. 2016, equation 8; Kong 1992 (ess); Vehtari et al. 2024 (Pareto shape).
        """
        check_whole_number("samples", samples, minimum=1)
        self._require("log_likelihood")
        x = self._images(images)
        if self._is_binary and not ((x == 0) | (x == 1)).all():
            raise ValueError("this run models binary pixels: give images whose pixels are 0 or 1")
        with seeded(seed, "log likelihood"):
            weights = [importance_weights(self.model, batch, samples) for batch in x.split(LIKELIHOOD_BATCH)]
        effective = torch.cat([each.effective for each in weights])
        error = (1 / effective - 1 / samples).clamp(min=0).sqrt()
        return LogLikelihood(
            value=torch.cat([each.log_likelihood for each in weights]),
            standard_error=error if samples > 1 else torch.full_like(error, torch.nan),
            pareto_shape=torch.cat([each.shape for each in weights]),
        )

    @torch.no_grad()
    def latents(self, split: Split = "test") -> Tensor:
        """The codes (N, D) of a split of the run's data: train, validation or test."""
        if split not in SPLITS:
            raise ValueError(f"split={split}: choose one of {', '.join(SPLITS)}")
        self._require("encode")
        return torch.cat([self.model.encode(x.to(self.model.device)) for x in self.data.chunks(split, CHUNK)])

    def measure(self, cells: Request, requested: Settings, *, device: torch.device) -> Evaluation:
        """Measure some cells with the settings of the record and the requested ones."""
        is_first = not self.record.evaluations
        settings = merged_settings(self.record, requested)
        samplers = set(requested["sampler"]) if is_first else set()
        samplers.update(*(each.samplers for each in cells.values()))
        metrics = {name for name, _ in cells}
        kinds = {view.features for _, view in cells} | requested["features"].keys()
        chosen = {
            "metric": {name: without_source(node) for name, node in settings["metric"].items() if name in metrics},
            "sampler": {name: without_source(node) for name, node in settings["sampler"].items() if name in samplers},
            "features": {name: without_source(node) for name, node in settings["features"].items() if name in kinds},
        }
        parts = build_measuring_parts(OmegaConf.create(chosen), self.data)
        return evaluate(
            model=self.model,
            data=self.data,
            seed=self.config.seed,
            device=device,
            cells=cells,
            with_views=is_first,
            **parts,
        )

    @property
    def _is_binary(self) -> bool:
        return bool(self.config.data.get("binarize", "none") != "none")

    def _images(self, images: Any) -> Tensor:
        return as_images(images, tuple(self.config.resolved.shape)).to(self.model.device)

    def _require(self, ability: Ability) -> None:
        """Raises: UserError if the model lacks the ability."""
        if reason := self.model.cannot(ability, binary=self._is_binary):
            raise UserError(f"{self.folder.name}: {reason}")


def measuring_device(config: DictConfig, devices: Any) -> torch.device:
    """The device on which to measure: that of `trainer.accelerator` if this machine has it, else the CPU.

    devices: numbers of the devices to use; None: the first
    """
    # Apple's GPUs have no float64, which sums of moments and likelihoods need.
    if config.trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", devices[0] if devices else 0)
