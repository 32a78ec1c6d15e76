"""Greedy non-maximum suppression, box by box."""

from __future__ import annotations

from collections.abc import Sequence


def common_area(a: Sequence[float], b: Sequence[float]) -> float:
    """Area that two boxes (x, y, w, h, ...) share."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0.0) * max(down, 0.0)


def suppress(boxes: Sequence[Sequence[float]], overlap: float, *, by_minimum: bool) -> list[int]:
    """Rows that stay, the best first; of equal scores the later row first."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-boxes[i][4], -i)):
        for k in kept:
            areas = [boxes[j][2] * boxes[j][3] for j in (i, k)]
            common = common_area(boxes[i], boxes[k])
            if common / (min(areas) if by_minimum else sum(areas) - common) > overlap:
                break
        else:
            kept.append(i)
    return kept
