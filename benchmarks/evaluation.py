"""Time to evaluate one MNIST run with every default metric but `nll` and 10,000 images per set (target: 35 s).

    python benchmarks/evaluation.py [data=mnist method=vae ...] > benchmarks/evaluation.md

Both kinds of features, an untrained model, one thread. Without LATENTBENCH_DATA it takes the digits.
"""

import sys
import time

import torch
from machine import DATA, header, peak_memory
from omegaconf import DictConfig
from tabulate import tabulate

from latentbench.configuration.compose import compose_config
from latentbench.evaluation.build import build, build_measuring_parts, build_model
from latentbench.evaluation.evaluate import make_metric_inputs, seeded
from latentbench.metrics.base import FeatureMetric


def times(config: DictConfig, device: torch.device) -> tuple[dict[str, float], int]:
    """Seconds for making the images and for every metric, for an untrained model, and the number of sets of images."""
    data = build(config.data, seed=0)
    data.setup()
    measures = build_measuring_parts(config, data)
    model = build_model(config, data).eval().to(device)
    seconds = {}
    with torch.no_grad():
        started = time.monotonic()
        kinds = list(measures["features"].values())
        inputs = make_metric_inputs(model, data, measures["samplers"], kinds[0], 0, device, with_other_sets=True)
        seconds["images of every set"] = time.monotonic() - started
        started = time.monotonic()
        seen = [inputs.with_features(kind.to(device)) for kind in kinds]
        _ = [(of.reference_features, [of.features_of(set_name) for set_name in of.images]) for of in seen]
        seconds["features of every set"] = time.monotonic() - started
        for name, metric in measures["metrics"].items():
            started = time.monotonic()
            for of in seen if isinstance(metric, FeatureMetric) else [inputs]:
                with seeded(0, f"metric {name}"):
                    metric.measure(of)
            seconds[name] = time.monotonic() - started
    return seconds, len(inputs.images)


def main() -> None:
    """Print the times on one thread."""
    torch.set_num_threads(1)
    arguments = sys.argv[1:] or [f"data={DATA[-1]}", "latent_size=10", "~metric.nll"]
    seconds, n_sets = times(compose_config(arguments), torch.device("cpu"))
    total = sum(seconds.values())
    rows = [*seconds.items(), ("all", total)]
    print(header(f"Measuring one run, {' '.join(arguments)}: {n_sets} sets of images, one thread"))
    print(tabulate([(name, f"{duration:.1f}") for name, duration in rows], headers=["", "seconds"], tablefmt="github"))
    print(f"\nPeak memory {peak_memory():.1f} GiB.")


if __name__ == "__main__":
    main()
