"""The contract of a metric that compares codes with the known factors of the images."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat
from tqdm import tqdm

from latentbench.metrics.base import Metric
from latentbench.metrics.feature_set import SEED
from latentbench.metrics.inputs import MetricInputs, not_finite
from latentbench.metrics.measurements import Estimate, Measurements
from latentbench.records.keys import TEST

HALVES = 10  # random halves of the images for the standard error, which is then accurate to about a quarter
MIN_MINORITY = 20  # images that differ from the most frequent value, so that every random half contains some


class FactorMetric(Metric):
    """A metric of how the codes of held-out images represent the known factors; its keys end in `/test`."""

    codes: list[Tensor]
    factors: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_lists("codes", "factors")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder, finite codes, and at least two known factors that vary."""
        if reason := inputs.model.cannot("encode", binary=inputs.data.is_binary):
            return reason
        factors = inputs.data.factors(inputs.split)
        if factors is None:
            return f"data={inputs.data.name} has no known factors: take data=sprites, dsprites or shapes3d"
        minorities = [len(factor) - int(factor.unique(return_counts=True)[1].max()) for factor in factors.T]
        minorities = [n for n in minorities if n]
        if len(minorities) < 2:
            n = len(minorities)
            return f"only {n} of the known factors vary among the {inputs.split} images: at least two are needed"
        if min(minorities) < MIN_MINORITY:
            return (
                f"a known factor differs from its most frequent value in only {min(minorities)} {inputs.split} images: "
                f"at least {MIN_MINORITY} are needed"
            )
        return not_finite(inputs.codes, "codes")

    @torch.no_grad()
    def measure(self, inputs: MetricInputs) -> Measurements:
        measurements = Measurements()
        if reason := self.refuses(inputs):
            measurements.skip(self.quantities, TEST, reason)
            return measurements
        factors = inputs.data.factors(inputs.split)
        assert factors is not None
        self.reset()
        self.update(inputs.codes, factors)
        measurements.add(TEST, self.checked_estimates())
        return measurements

    def update(self, codes: Tensor, factors: Tensor) -> None:
        """Add codes (B, D) and factors (B, K) of images."""
        self.codes.append(codes)
        self.factors.append(factors)

    def compute(self) -> dict[str, Estimate]:
        """The scores, with their standard deviation over random halves of the images as standard error.

        Over halves drawn without replacement a score varies as it does over sets of full size (delete-half jackknife,
        Shao & Wu 1989). The randomness of the score itself is included.
        """
        codes, factors = canonical_codes_and_factors(dim_zero_cat(self.codes), dim_zero_cat(self.factors))
        scores = self.score(codes, factors)
        halves = [torch.randperm(len(codes))[: len(codes) // 2] for _ in range(HALVES)]
        half_scores = [
            self.score(codes[half], factors[half]) for half in tqdm(halves, desc="halves", leave=False, disable=None)
        ]
        return {
            name: Estimate(score, torch.stack([half_score[name] for half_score in half_scores]).std())
            for name, score in scores.items()
        }

    @abstractmethod
    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """Quantities by name, scalars, for codes (N, D) and factors (N, K)."""


def canonical_codes_and_factors(codes: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, D) in float64, and the factors (N, K) that vary, with values 0, ..., n_k - 1; both on the CPU.

    Images are sorted by their factors, then by their codes, so that random draws do not depend on the order in which
    the images arrive.
    Raises: ValueError if codes and factors differ in number, or no factor varies.
    """
    codes, factors = codes.detach().cpu().double(), factors.cpu()
    if len(codes) != len(factors):
        raise ValueError(f"{len(codes)} codes do not match the factors of {len(factors)} images")
    columns = [column.unique(return_inverse=True)[1] for column in factors.T]
    columns = [column for column in columns if column.any()]
    if not columns:
        raise ValueError("no factor has two values")
    factors = torch.stack(columns, 1)
    keys = torch.cat([factors.double(), codes], 1).T.flip(0)  # np.lexsort sorts by the last key first
    order = torch.from_numpy(np.lexsort(keys.numpy()))
    return codes[order], factors[order]


def halves_of(n: int) -> tuple[Tensor, Tensor]:
    """The numbers 0, ..., n - 1 in two random halves, the same for every call."""
    first, second = torch.randperm(n, generator=torch.Generator().manual_seed(SEED)).tensor_split(2)
    return first, second


def gap_of_best_two(ranking: Tensor, table: Tensor, uninformative: Tensor) -> Tensor:
    """Difference between the entries of the two best coordinates of each column of a table (D, K) -> (K,).

    Which two are best is decided by `ranking` (D, K), the same table from other images: the highest entries of a table
    are too high, as chance has a part in which they are, and so is the second of many that say nothing.
    uninformative: (K,), the entry of an uninformative coordinate; if D = 1, this is the second
    """
    ranking, table = (torch.cat([entries, uninformative[None]]) for entries in (ranking, table))
    best = table.gather(0, ranking.topk(2, dim=0).indices)
    return best[0] - best[1]
