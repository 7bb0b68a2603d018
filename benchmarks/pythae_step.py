"""The step of Pythae's own trainer, with the networks of `bare.py`.

To compare with it: `pip install pythae==0.1.2` in an environment of its own that also has latentbench.
"""

import math
import tempfile
import time
from typing import Any

import torch
from bare import HIDDEN, LATENT_SIZE, layers
from torch import Tensor, nn

try:
    from pythae import models
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig, BaseTrainer, BaseTrainerConfig
except ImportError:
    IS_INSTALLED = False
    BaseDecoder = BaseEncoder = nn.Module
else:
    IS_INSTALLED = True

MODELS = {"vae": "VAE", "wae_mmd": "WAE_MMD", "aae": "Adversarial_AE", "vampprior_vae": "VAMP"}  # it has no GAN
CROSS_ENTROPY = {"reconstruction_loss": "bce"}
SETTINGS: dict[str, dict[str, Any]] = {
    "vae": CROSS_ENTROPY,
    "wae_mmd": {},  # its reconstruction loss is the squared error
    "aae": CROSS_ENTROPY,  # its critic has one hidden layer, where latentbench's has two
    "vampprior_vae": CROSS_ENTROPY
    | {"number_components": 100},  # one draw for the KL term, where latentbench takes ten
}


class Encoder(BaseEncoder):  # type: ignore[misc]
    """That of `bare.py`, as Pythae wants it."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), layers(pixels, *HIDDEN), nn.ReLU())
        self.mean, self.log_scale = nn.Linear(HIDDEN[-1], LATENT_SIZE), nn.Linear(HIDDEN[-1], LATENT_SIZE)

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_scale(hidden))


class Decoder(BaseDecoder):  # type: ignore[misc]
    """That of `bare.py`, as Pythae wants it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(layers(LATENT_SIZE, *reversed(HIDDEN), math.prod(shape)), nn.Sigmoid())

    def forward(self, z: Tensor) -> Any:
        return ModelOutput(reconstruction=self.layers(z).view(-1, *self.shape))


def pythae_seconds(method: str, images: Tensor, *, batch_size: int, epochs: int, device: str) -> float:
    """Seconds a step, without what comes before and after the epochs; NaN if Pythae has no such model.

    images: floats (N, C, H, W) in [0, 1], on the processor
    """
    if not IS_INSTALLED or method not in MODELS:
        return math.nan
    shape, name = tuple(images.shape[1:]), MODELS[method]
    config = getattr(models, f"{name}_Config" if "_" in name else f"{name}Config")
    model = getattr(models, name)(
        config(input_dim=shape, latent_dim=LATENT_SIZE, **SETTINGS[method]),
        encoder=Encoder(math.prod(shape)),
        decoder=Decoder(shape),
    )
    trainer, settings = BaseTrainer, BaseTrainerConfig
    if method == "aae":
        trainer, settings = AdversarialTrainer, AdversarialTrainerConfig
    train_epoch, seconds = trainer.train_step, []

    def timed(self: Any, epoch: int) -> Any:
        start = time.perf_counter()
        result = train_epoch(self, epoch)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        return result

    trainer.train_step = timed
    try:
        with tempfile.TemporaryDirectory() as folder:
            training = settings(
                output_dir=folder,
                num_epochs=epochs,
                learning_rate=1e-3,
                per_device_train_batch_size=batch_size,
                no_cuda=device == "cpu",
            )
            TrainingPipeline(model=model, training_config=training)(train_data=images)
    finally:
        trainer.train_step = train_epoch
    return min(seconds) / -(-len(images) // batch_size)
