"""Time to evaluate one MNIST run with every default metric, 10,000 images of every set (promise: 90 s besides `nll`).

python benchmarks/evaluation.py [data=mnist method=vae ...]
"""

import resource
import sys
import time

import torch

from latentbench.configuration.compose import compose_config
from latentbench.evaluation.evaluate import gather, seeded
from latentbench.running.build import build, build_evaluation_parts, build_model


def main() -> None:
    """Seconds of the images and of every metric, on one thread, of an untrained model."""
    torch.set_num_threads(1)
    config = compose_config(sys.argv[1:] or ["data=mnist", "latent_size=10"])
    data = build(config.data, seed=0)
    data.setup()
    measures = build_evaluation_parts(config, data)
    model = build_model(config, data).eval()
    device = torch.device("cpu")
    seconds = {}
    with torch.no_grad():
        started = time.monotonic()
        inputs = gather(model, data, measures["samplers"], measures["features"], 0, device)
        seconds["images of every set"] = time.monotonic() - started
        started = time.monotonic()
        _ = inputs.reference_features, [inputs.features_of(of_what) for of_what in inputs.images]
        seconds["features of every set"] = time.monotonic() - started
        for name, metric in measures["metrics"].items():
            started = time.monotonic()
            with seeded(0, f"metric {name}"):
                metric.measure(inputs)
            seconds[name] = time.monotonic() - started
    for name, taken in seconds.items():
        print(f"{name:<24}{taken:7.1f} s")
    total = sum(seconds.values())
    print(f"{'all':<24}{total:7.1f} s, {total - seconds.get('nll', 0.0):.1f} s besides nll; {len(inputs.images)} sets")
    print(f"{'peak memory':<24}{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:7.1f} GiB")


if __name__ == "__main__":
    main()
