"""The contract of a metric of codes against the factors that the images were made from."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat
from tqdm import tqdm

from latentbench.metrics.base import Estimate, Measurements, Metric, MetricInputs, not_finite

HALVES = 10  # of the images, that an error is told from: it is right to about a quarter of itself
FEWEST = 20  # images of other values than the most frequent


class FactorMetric(Metric):
    """A metric of how the codes of test images hold the known factors; keys end in `/test`."""

    codes: list[Tensor]
    factors: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.keep("codes", "factors")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder, finite codes, and two known factors that vary: with one there is nothing to tell apart.

        A factor varies if images of a second value are so many that any half of the images has some.
        """
        if reason := inputs.model.cannot("encode", binary=inputs.data.is_binary):
            return reason
        factors = inputs.data.factors("test")
        if factors is None:
            return f"what the images of data={inputs.data.name} were made from is not known; of data=sprites it is"
        others = [len(factor) - int(factor.unique(return_counts=True)[1].max()) for factor in factors.T]
        others = [n for n in others if n]
        if len(others) < 2:
            return f"of the known factors {len(others)} vary among the test images: two or more are needed"
        if min(others) < FEWEST:
            return f"a known factor has its most frequent value in all but {min(others)} test images: it takes {FEWEST}"
        return not_finite(inputs.codes, "codes")

    @torch.no_grad()
    def measure(self, inputs: MetricInputs) -> Measurements:
        """Every quantity on the test images."""
        if reason := self.refuses(inputs):
            return Measurements(skipped={f"{name}/test": reason for name in self.quantities})
        factors = inputs.data.factors("test")
        assert factors is not None
        self.reset()
        self.update(inputs.codes, factors)
        found = Measurements()
        found.add("test", self.compute())
        return found

    def update(self, codes: Tensor, factors: Tensor) -> None:
        """Add images' codes (B, D) and factors (B, K)."""
        self.codes.append(codes)
        self.factors.append(factors)

    def compute(self) -> dict[str, Estimate]:
        """The scores, and their spread over random halves of the images.

        Over halves drawn without replacement a score spreads as it does over sets of all the images (the jackknife
        that leaves out half, Shao & Wu 1989), what is drawn in making it included.
        """
        codes, factors = prepared(dim_zero_cat(self.codes), dim_zero_cat(self.factors))
        scores = self.score(codes, factors)
        halves = [torch.randperm(len(codes))[: len(codes) // 2] for _ in range(HALVES)]
        of_halves = [
            self.score(codes[half], factors[half]) for half in tqdm(halves, desc="halves", leave=False, disable=None)
        ]
        return {
            name: Estimate(score, torch.stack([of_half[name] for of_half in of_halves]).std())
            for name, score in scores.items()
        }

    @abstractmethod
    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """Quantities, scalars, of codes (N, D) and factors (N, K)."""


def prepared(codes: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, D) in float64 and the factors (N, K) that vary, their values counted from 0 without gaps.

    Images are put in the order of their factors, and of their codes where factors are equal, so that what is drawn of
    them does not depend on the order they came in. Both are on the processor.
    Raises: ValueError if there are not as many codes as factors, or no factor varies.
    """
    codes, factors = codes.detach().cpu().double(), factors.cpu()
    if len(codes) != len(factors):
        raise ValueError(f"{len(codes)} codes and the factors of {len(factors)} images")
    columns = [column.unique(return_inverse=True)[1] for column in factors.T]
    columns = [column for column in columns if column.any()]
    if not columns:
        raise ValueError("no factor has two values")
    factors = torch.stack(columns, 1)
    keys = torch.cat([factors.double(), codes], 1).T.flip(0)  # numpy sorts by the last key first
    order = torch.from_numpy(np.lexsort(keys.numpy()))
    return codes[order], factors[order]


def gap_of_best_two(table: Tensor, of_nothing: Tensor) -> Tensor:
    """By how much the highest of each column exceeds the second highest: (D, K) -> (K,).

    of_nothing: (K,) what a code that says nothing would have; it is the rival of a single code.
    """
    best = torch.cat([table, of_nothing[None]]).topk(2, dim=0).values
    return best[0] - best[1]
