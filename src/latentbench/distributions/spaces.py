"""Where latents may lie."""

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cosine_similarity


class Space(NamedTuple):
    """A set of latents, in words, and options whose draws lie there."""

    words: str
    priors: str
    posteriors: str


REAL = Space("all of R^n", "normal, laplace, logistic or student_t", "gaussian, laplace, logistic or student_t")
BOX = Space("a box", "uniform", "beta")
SPHERE = Space("the unit sphere", "hypersphere", "von_mises_fisher or power_spherical")
CODES = Space("a finite set of code words", "categorical", "categorical")

BOX_HALF_WIDTH = 3**0.5  # of [-sqrt(3), sqrt(3)], on which the uniform distribution has variance 1


def slerp_halfway(start: Tensor, end: Tensor) -> Tensor:
    """The middle of the great arc from a to b: (a + b) / (2 cos(theta / 2)), theta the angle between the two.

    Shape: (B, D) twice -> (B, D). Of opposite directions, between which every arc is as great, the straight line's.
    Source: Shoemake 1985, section 3.3, at half of the way; White 2016 for latents.
    """
    cosine = cosine_similarity(start, end, dim=-1).clamp(-1, 1)
    half = ((1 + cosine) / 2).sqrt()[..., None]  # cos(theta / 2)
    return (start + end) / (2 * half.where(half > 1e-3, 1))
