"""Places labels beside points so that none hides another label or a point: greedy, without chance."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# from a point to its label, the nearest first
RADII = (5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 38.0, 47.0, 57.0, 68.0, 80.0, 95.0, 110.0, 130.0, 160.0)
DIRECTIONS = 36
NEAR = 60.0  # points within this distance crowd each other
POINT = 3.0  # half the side of the square that a point takes
CORE = 1.0  # half the side of what no line to a label may meet, unless it is next to the label's own point
GAP = 1.0  # around a label
ROUNDS = 20
SHORT = 12.0  # a label this near to its point needs no other round
Numbers = NDArray[np.float64]


def place_labels(anchors: Numbers, sizes: Numbers, points: Numbers, within: Numbers) -> list[Numbers | None]:
    """The place of each label: the nearest one that is free; None where none is free.

    The most crowded points are served first. Then whoever fared worst comes first in another round, and the best of
    `ROUNDS` rounds stays. The line from a point to its label meets no other label or point. Lengths are in
    points of print.

    anchors: the points that the labels belong to (N, 2); sizes: widths and heights of the labels (N, 2)
    points: all points, which no label hides (M, 2); within: the box that they lie in
    Returns: boxes: left, bottom, right, top
    """
    crowd = (np.linalg.norm(anchors[:, None] - points, axis=2) < NEAR).sum(1)
    order = sorted(range(len(anchors)), key=lambda index: (-crowd[index], index))
    candidates = [_candidates(*pair, points, within) for pair in zip(anchors, sizes, strict=True)]
    rounds = []
    for _ in range(ROUNDS):
        placed = _serve(order, anchors, candidates)
        far = [_distance(*pair) for pair in zip(anchors, placed, strict=True)]
        rounds.append((sum(far), placed))
        worst = max(order, key=lambda index: far[index], default=None)
        if worst is None or far[worst] < SHORT:
            break
        order = [worst, *(index for index in order if index != worst)]
    return min(rounds, key=lambda each: each[0])[1]


def nearest(boxes: Numbers, point: Numbers) -> Numbers:
    """The point of each box (..., 4) that is nearest to a point. Shape: (..., 2)."""
    return np.clip(point, boxes[..., :2], boxes[..., 2:])


def _distance(anchor: Numbers, box: Numbers | None) -> float:
    return 10 * RADII[-1] if box is None else math.dist(anchor, nearest(box, anchor))


def _serve(order: Sequence[int], anchors: Numbers, candidates: Sequence[Numbers]) -> list[Numbers | None]:
    """One round: each label in this order takes the nearest place that is still free."""
    placed: list[Numbers | None] = [None] * len(anchors)
    labels, starts, ends = np.empty((0, 4)), np.empty((0, 2)), np.empty((0, 2))
    for index in order:
        anchor, boxes = anchors[index], candidates[index]
        own_ends = nearest(boxes, anchor)
        hidden = _overlap(boxes, labels).any(1) | _cross(starts, ends, boxes).any(0)
        hidden |= _cross(np.broadcast_to(anchor, own_ends.shape), own_ends, labels).any(1)
        if not hidden.all():
            first = int(np.argmin(hidden))
            placed[index] = boxes[first]
            labels = np.vstack([labels, boxes[first] + (-GAP, -GAP, GAP, GAP)])
            starts, ends = np.vstack([starts, anchor]), np.vstack([ends, own_ends[first]])
    return placed


def _candidates(anchor: Numbers, size: Numbers, points: Numbers, within: Numbers) -> Numbers:
    """The places of a label that hide no point, nor have its line meet one, the nearest first. Shape: (K, 4)."""
    steps = np.arange(DIRECTIONS)
    turns = (steps + 1) // 2 * np.where(steps % 2, 1, -1)  # 0, 1, -1, 2, -2, ...
    angles = 2 * np.pi * turns / DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = anchor + directions * (np.array(RADII)[:, None, None] + size / 2)
    boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=2).reshape(-1, 4)
    inside = (boxes[:, :2] >= within[:2]).all(1) & (boxes[:, 2:] <= within[2:]).all(1)
    taken = np.concatenate([points - POINT, points + POINT], axis=1)
    boxes = boxes[inside & ~_overlap(boxes, taken).any(1)]
    others = np.concatenate([points - CORE, points + CORE], axis=1)[np.linalg.norm(points - anchor, axis=1) > 2 * POINT]
    return boxes[~_cross(np.broadcast_to(anchor, (len(boxes), 2)), nearest(boxes, anchor), others).any(1)]


def _overlap(boxes: Numbers, others: Numbers) -> NDArray[np.bool_]:
    """Whether each box has an area in common with each of the others. Shape: (K, L)."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return np.asarray(((low < others[:, 2:]) & (others[:, :2] < high)).all(2))


def _cross(starts: Numbers, ends: Numbers, boxes: Numbers) -> NDArray[np.bool_]:
    """Whether the straight line from each start to its end meets each box. Shape: (S, K)."""
    way = ends - starts
    way = np.where(way == 0, 1e-9, way)[:, None]
    enters = (boxes[:, :2] - starts[:, None]) / way  # as a share of the way, by axis
    leaves = (boxes[:, 2:] - starts[:, None]) / way
    first = np.minimum(enters, leaves).max(2)
    last = np.maximum(enters, leaves).min(2)
    return np.asarray(np.maximum(first, 0) <= np.minimum(last, 1))
