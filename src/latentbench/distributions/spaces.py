"""The spaces that latents can lie in."""

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cosine_similarity


class Space(NamedTuple):
    """A space of latents. All fields are words for messages; the options named have their draws in this space."""

    description: str
    priors: str  # options of prior=
    posteriors: str  # options of posterior=


REAL = Space("all of R^n", "normal, laplace, logistic or student_t", "gaussian, laplace, logistic or student_t")
BOX = Space("a box", "uniform", "beta")
SPHERE = Space("the unit sphere", "hypersphere", "von_mises_fisher or power_spherical")
CODES = Space("a finite set of code words", "categorical", "categorical")

BOX_HALF_WIDTH = 3**0.5  # the uniform distribution on [-sqrt(3), sqrt(3)] has variance 1


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """The point at t in [0, 1] of the great-circle arc: (sin((1 - t) theta) a + sin(t theta) b) / sin(theta).

    Between equal or opposite directions it is on the straight line. Shape: start and end (B, D); result (B, D).
    Source: Shoemake 1985, section 3.3; White 2016 for latents.
    """
    angle = cosine_similarity(start, end, dim=-1).clamp(-1, 1).acos()[..., None]
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / sine.where(sine > 1e-3, 1)
    return arc.where(sine > 1e-3, (1 - t) * start + t * end)


def slerp_midpoint(start: Tensor, end: Tensor) -> Tensor:
    """The midpoint of the great-circle arc from a to b: (a + b) / (2 cos(theta / 2)), theta the angle between a and b.

    Between opposite directions, where no arc is the shortest, it is the midpoint of the straight line.
    Shape: start and end (B, D); result (B, D).
    Source: Shoemake 1985, section 3.3, at t = 1/2; White 2016 for latents.
    """
    cosine = cosine_similarity(start, end, dim=-1).clamp(-1, 1)
    half = ((1 + cosine) / 2).sqrt()[..., None]  # cos(theta / 2)
    return (start + end) / (2 * half.where(half > 1e-3, 1))
