"""What stands where on one labelled image: the labels, and what two models say at the confidence that users see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import numpy as np

from banana_delivery.policy.model import StoredModel
from banana_delivery.policy.quality.disagreements import SHOWN_CONFIDENCE
from banana_delivery.policy.quality.matching import Booleans, Matches, Objects

MOST_BOXES = 30
"""Of one kind on one image, errors first; of more nobody sees which is which."""


class Author(StrEnum):
    """Who says that something is there."""

    LABEL = "label"
    PRODUCTION = "production"
    CANDIDATE = "candidate"


class ShownBox(StoredModel):
    """One box.

    Attributes:
        author: who says so.
        corners: x1 y1 x2 y2 in pixels of the image.
        class_name: of what.
        score: 0..1; None of a label.
        missed_by: of a label: which models did not find it.
        false: of a detection: whether it is no labelled object.
    """

    author: Author
    corners: tuple[float, float, float, float]
    class_name: str
    score: float | None = None
    missed_by: tuple[Author, ...] = ()
    false: bool = False

    @property
    def wrong(self) -> bool:
        """Whether somebody made an error here."""
        return self.false or bool(self.missed_by)


def boxes_on(image: str, candidate: Matches, production: Matches) -> tuple[ShownBox, ...]:
    """Labels and detections of an image; empty where nobody kept where they are.

    Args:
        image: its name.
        candidate: its answers, of the classes that are compared.
        production: the same of production.
    """
    if candidate.placed is None or production.placed is None:
        return ()
    index = candidate.names.index(image)
    answers = {Author.PRODUCTION: production, Author.CANDIDATE: candidate}
    missed = {author: _missed(matches, index) for author, matches in answers.items()}
    found = [_bounded(_labels(candidate.placed.objects, index, missed, candidate.class_names))]
    found += [_bounded(_detections(author, matches, index)) for author, matches in answers.items()]
    return tuple(box for boxes in found for box in boxes)


def errors_of(author: Author, boxes: Iterable[ShownBox]) -> str:
    """What a model did wrong on an image, in words.

    >>> label = ShownBox(author=Author.LABEL, corners=(0, 0, 9, 9), class_name="streak", missed_by=(Author.CANDIDATE,))
    >>> false = ShownBox(author=Author.CANDIDATE, corners=(0, 0, 9, 9), class_name="spot", score=0.5, false=True)
    >>> errors_of(Author.CANDIDATE, [label, label, false])
    'missed 2 streak; found 1 spot that is not there'
    >>> errors_of(Author.PRODUCTION, [label])
    'no errors'
    """
    missed, false = Counter[str](), Counter[str]()
    for box in boxes:
        missed[box.class_name] += author in box.missed_by
        false[box.class_name] += box.false and box.author is author
    told = [f"missed {_counted(missed)}"] if missed.total() else []
    if false.total():
        told.append(f"found {_counted(false)} that {'is' if false.total() == 1 else 'are'} not there")
    return "; ".join(told) or "no errors"


def _counted(classes: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in classes.most_common() if count)


def _missed(matches: Matches, image: int) -> Booleans:
    """Of every labelled object of all images, whether it lies on this one and was not found there."""
    assert matches.placed is not None
    seen = matches.placed.found[(matches.image == image) & (matches.score > SHOWN_CONFIDENCE) & matches.hit]
    missed: Booleans = matches.placed.objects.image == image
    missed[seen] = False
    return missed


def _labels(
    objects: Objects, image: int, missed: dict[Author, Booleans], class_names: tuple[str, ...]
) -> list[ShownBox]:
    return [
        ShownBox(
            author=Author.LABEL,
            corners=_corners(objects.boxes[row]),
            class_name=class_names[objects.klass[row]],
            missed_by=tuple(author for author, rows in missed.items() if rows[row]),
        )
        for row in np.flatnonzero(objects.image == image)
    ]


def _detections(author: Author, matches: Matches, image: int) -> list[ShownBox]:
    assert matches.placed is not None
    return [
        ShownBox(
            author=author,
            corners=_corners(matches.placed.boxes[row]),
            class_name=matches.class_names[matches.klass[row]],
            score=round(float(matches.score[row]), 3),
            false=not matches.hit[row],
        )
        for row in np.flatnonzero((matches.image == image) & (matches.score > SHOWN_CONFIDENCE))
    ]


def _corners(box: object) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(edge), 1) for edge in np.asarray(box))
    return x1, y1, x2, y2


def _bounded(boxes: list[ShownBox]) -> list[ShownBox]:
    return sorted(boxes, key=lambda box: (not box.wrong, -(box.score or 1.0)))[:MOST_BOXES]
