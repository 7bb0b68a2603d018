"""A progress bar for training."""

import pytorch_lightning as pl
from tqdm import tqdm

from latentbench.models.training import TrainedModel


class EpochBar(pl.Callback):
    """One bar for the whole training, in epochs; hidden if standard error is not a terminal."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        disable = None if trainer.is_global_zero else True  # None: tqdm checks for a terminal
        self.bar = tqdm(total=trainer.max_epochs, desc="training", unit="epoch", leave=False, disable=disable)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the losses of the epoch before, which the model computes after the callbacks of its end."""
        assert isinstance(pl_module, TrainedModel)
        losses = {k.removeprefix("train/"): f"{v:.4g}" for k, v in pl_module.done.losses.items() if "train/" in k}
        self.bar.set_postfix(losses)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.update()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar, also after an exception."""
        if hasattr(self, "bar"):
            self.bar.close()
