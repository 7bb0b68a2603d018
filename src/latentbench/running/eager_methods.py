"""The methods whose training steps cannot be replayed, and why, as `latentbench --help` shows them.

`python -m latentbench.running.eager_methods` writes them anew to eager_methods.txt.
"""

import tempfile
from pathlib import Path

from omegaconf import OmegaConf, open_dict

from latentbench.configuration.catalogue import own_options
from latentbench.configuration.compose import compose_config
from latentbench.evaluation.build import build_data, build_model
from latentbench.running.replay import WARM_UP
from latentbench.running.train import fit

STORED = Path(__file__).with_suffix(".txt")


def eager_methods() -> str:
    """A line for each of latentbench's methods whose steps stay ordinary ones, found by steps on the digits."""
    lines = []
    for method in own_options("method"):
        settings = [f"method={method}", "trainer.accelerator=cpu", "trainer.max_epochs=1"]
        config = compose_config([*settings, "data.batch_size=8"])
        with open_dict(config):
            OmegaConf.update(config, "trainer.limit_train_batches", 2 * WARM_UP)
            OmegaConf.update(config, "trainer.limit_val_batches", 0)
        data = build_data(config)
        model = build_model(config, data)
        with tempfile.TemporaryDirectory() as folder:
            fit(config, model, data, Path(folder))
        if model.done.replay != "yes":
            lines.append(f"  {method:<20} {str(model.done.replay).removeprefix('no: ')}\n")
    return "".join(lines)


if __name__ == "__main__":
    STORED.write_text(eager_methods(), encoding="utf-8")
