"""From the network's raw output to boxes: an end-to-end head, or a raw head that needs non-maximum suppression."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_LIMIT = 0.7
"""Boxes of one class that overlap more than this are one object; ultralytics' default."""

MAX_CANDIDATES = 30_000
CLASS_STEP = 7680
"""Pixels by which ultralytics moves the boxes of each class away from those of the one before. With hundreds of classes
they are so far out that their overlap is that of rounded boxes, which decides between boxes at the limit."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Detections by falling score: corners (n, 4) as x1, y1, x2, y2; scores (n,); class_ids (n,)."""

    corners: Floats
    scores: Floats
    class_ids: NDArray[np.int64]

    def first(self, count: int) -> "Boxes":
        """The `count` detections with the highest scores."""
        return Boxes(self.corners[:count], self.scores[:count], self.class_ids[:count])


def from_end_to_end(rows: Floats, confidence: float, at_most: int) -> Boxes:
    """Reads rows (n, 6) of x1, y1, x2, y2, score, class."""
    kept = rows[rows[:, 4] > confidence]
    kept = kept[np.argsort(-kept[:, 4], kind="stable")][:at_most]
    return Boxes(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int64))


def from_queries(rows: Floats, confidence: float, at_most: int, width: int, height: int) -> Boxes:
    """Reads rows (n, 6) of RT-DETR: centre x, centre y, width and height in shares of the frame, score, class."""
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    edges = np.array([width, height] * 2, np.float32)
    corners = np.concatenate([centre - half, centre + half], axis=1) * edges
    return from_end_to_end(np.concatenate([corners, rows[:, 4:]], axis=1), confidence, at_most)


def from_raw(output: Floats, confidence: float, at_most: int) -> Boxes:
    """Reads (4 + classes, anchors) of centre x, centre y, width, height and class scores; best class an anchor."""
    boxes = best_of_raw(output, confidence, MAX_CANDIDATES)
    kept = suppress(boxes, at_most)
    return Boxes(boxes.corners[kept], boxes.scores[kept], boxes.class_ids[kept])


def best_of_raw(output: Floats, confidence: float, at_most: int) -> Boxes:
    """The same without suppression."""
    class_scores = output[4:]
    scores = class_scores.max(axis=0)
    candidates = np.flatnonzero(scores > confidence)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")][:at_most]
    centre, half = output[:2, candidates].T, output[2:4, candidates].T / 2
    return Boxes(
        np.concatenate([centre - half, centre + half], axis=1),
        scores[candidates],
        class_scores[:, candidates].argmax(axis=0),
    )


def suppress(boxes: Boxes, at_most: int) -> NDArray[np.int64]:
    """Greedy non-maximum suppression within each class; returns the indices of the best kept, by falling score.

    It goes no further than it has to: with every candidate wanted, one request took fifteen times the network's time.
    """
    apart = boxes.corners + (boxes.class_ids * CLASS_STEP).astype(np.float32)[:, None]
    remaining = np.arange(len(boxes.scores))
    kept: list[int] = []
    while remaining.size and len(kept) < at_most:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        same_class = boxes.class_ids[rest] == boxes.class_ids[best]
        overlaps = overlap(apart[best], apart[rest]) > IOU_LIMIT
        remaining = rest[~(same_class & overlaps)]
    return np.array(kept, dtype=np.int64)


def overlap(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box (4,) with others (n, 4)."""
    top_left = np.maximum(box[:2], others[:, :2])
    bottom_right = np.minimum(box[2:], others[:, 2:])
    intersection: Floats = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union: Floats = (box[2:] - box[:2]).prod() + areas - intersection
    np.divide(intersection, union, out=intersection, where=union > 0)
    return intersection
