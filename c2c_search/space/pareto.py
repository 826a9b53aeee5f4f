"""Pareto fronts of points whose every coordinate is to be as large as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


Point = tuple[float, ...]


def ranks(points: Sequence[Point]) -> list[int]:
    """Which front each point is on; 0: none dominates it, 1: only points of rank 0 do, ...

    Source: nondominated sorting (Deb et al., IEEE TEC 2002).
    """
    if not points:
        return []
    values = np.array(points, dtype=float)
    one, other = values[:, None, :], values[None, :, :]
    dominates = np.logical_and((one >= other).all(-1), (one > other).any(-1))
    found = np.full(len(points), -1)
    above, rank = dominates.sum(0), 0
    while (found < 0).any():
        front = (found < 0) & (above == 0)
        found[front] = rank
        above = above - dominates[front].sum(0)
        rank += 1
    return [int(each) for each in found]


def front(points: Sequence[Point]) -> list[int]:
    """Which points none dominates, by index, the lowest by the first coordinate first."""
    first = [index for index, rank in enumerate(ranks(points)) if rank == 0]
    return sorted(first, key=lambda index: points[index])


def hypervolume(points: Sequence[Point]) -> float:
    """Volume that is dominated by any of some points and dominates the origin.

    Coordinates below 0 count as 0. Source: Zitzler and Thiele, IEEE TEC 1999, by slices.
    """
    kept = [point for point in points if all(one > 0 for one in point)]
    if not kept:
        return 0.0
    if len(kept[0]) == 1:
        return max(point[0] for point in kept)
    kept.sort(key=lambda point: -point[-1])
    volume = 0.0
    for index, point in enumerate(kept):
        below = kept[index + 1][-1] if index + 1 < len(kept) else 0.0
        if point[-1] > below:
            slice_ = [each[:-1] for each in kept[: index + 1]]
            volume += (point[-1] - below) * hypervolume(slice_)
    return volume
