"""Controlled capacity increase."""

from typing import ClassVar

from torch import Tensor

from latentbench.annealing.base import Annealing
from latentbench.errors import check_number


class Capacity(Annealing):
    """|R - C(t)| with C(t) = nats min(1, t / share): keeps the rate close to a growing capacity C.

    Units: C in nats; t is the share of the training that is done.
    Source: Burgess et al. 2018, equation 8. The paper calls the weight of this term gamma; here it is beta.
    """

    is_weight: ClassVar[bool] = False

    def __init__(self, *, nats: float, share: float) -> None:
        self.nats = check_number("annealing.nats", nats, above=0)
        self.share = check_number("annealing.share", share, above=0, maximum=1)

    def number(self, progress: float) -> float:
        """C, nats."""
        return self.nats * min(1.0, progress / self.share)

    def __call__(self, regularization: Tensor, number: float | Tensor) -> Tensor:
        return (regularization - number).abs()
