"""Time and memory to fit each sampler to 50,000 latents and to draw 10,000, in 2 to 256 dimensions, on one thread.

    python benchmarks/samplers.py > benchmarks/samplers.md

The latents are draws of ten Gaussians with unit covariance, whose means have a standard deviation of 2. Each line is a
process of its own: processor time, and the peak of its memory. The last line is what the samplers are compared with:
one epoch of the training of `vae` on images of the size of MNIST.
"""

import time

import torch
from machine import header, peak_memory, run_in_process
from tabulate import tabulate

from latentbench.configuration.catalogue import option_node
from latentbench.configuration.compose import compose_config
from latentbench.evaluation.build import DataFacts, build, build_model
from latentbench.evaluation.evaluate import seeded

LATENTS, DRAWS, CLUSTERS, BATCH = 50_000, 10_000, 10, 128
DIMENSIONS = (2, 16, 64, 256)
SAMPLERS = ("gaussian", "gmm", "kde", "two_stage", "flow")

NOTE = """
A training has 50 epochs by default. `flow` in 256 dimensions takes as long, nearly all of it in the elementwise
operations of its splines: `sampler.flow.transform=affine` is the fast one for so many. `flow` and `two_stage` end early
when latents that were held out gain no more, so that time does not always grow with the dimensions."""


def sampler_cost(option: str, dimensions: int) -> tuple[float, float, float]:
    """Seconds to fit, seconds to draw, and the peak of memory in GiB above that of the latents and torch."""
    torch.set_num_threads(1)
    sampler = build(option_node("sampler", option))
    with torch.no_grad(), seeded(0, f"sampler {option}"):
        means = 2 * torch.randn(CLUSTERS, dimensions)
        latents = means[torch.randint(CLUSTERS, (LATENTS,))] + torch.randn(LATENTS, dimensions)
        prior = torch.distributions.Independent(
            torch.distributions.Normal(torch.zeros(dimensions), torch.ones(dimensions)), 1
        )
        before, started = peak_memory(), time.process_time()
        sampler.fit(prior=prior, latents=latents, seed=0)
        fitted = time.process_time()
        sampler.checked_draw(DRAWS, prior=prior, latents=latents)
    return fitted - started, time.process_time() - fitted, peak_memory() - before


def epoch_cost() -> float:
    """Seconds of an epoch of `vae`, from 50 of its steps."""
    torch.set_num_threads(1)
    model = build_model(compose_config([]), DataFacts((1, 28, 28), LATENTS)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    images = torch.rand(BATCH, 1, 28, 28)
    steps = 50
    for step in range(steps + 5):
        if step == 5:
            started = time.process_time()
        terms, _ = model.terms(images)  # type: ignore[operator]
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    return (time.process_time() - started) / steps * LATENTS / BATCH


def main() -> None:
    """Print the table as Markdown."""
    print(header(f"Samplers fitted to {LATENTS:,} latents, one thread, processor time"))
    rows = [
        [option, str(dimensions), *(f"{figure:.2f}" for figure in run_in_process(sampler_cost, option, dimensions))]
        for option in SAMPLERS
        for dimensions in DIMENSIONS
    ]
    rows.append(["an epoch of `vae` on MNIST", "", f"{run_in_process(epoch_cost):.2f}", "", ""])
    headers = ["sampler", "dimensions", "fit, s", f"{DRAWS:,} draws, s", "memory, GiB"]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    print(NOTE)


if __name__ == "__main__":
    main()
