"""Answers to some of the labelled images, and several such together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from banana_delivery.policy.quality.matching import Booleans, Integers, Matches, Objects, Placed


def chosen(matches: Matches, images: Integers) -> Matches:
    """The answers to images of these numbers, in this order; of one that comes twice the answers come twice."""
    rows, image, _ = _rows(matches.image, images, len(matches.names))
    placed = matches.placed
    if placed is not None:
        old = placed.objects
        objects, shown, moved = _rows(old.image, images, len(matches.names))
        found = placed.found[rows]
        placed = Placed(
            boxes=placed.boxes[rows],
            found=np.where(found >= 0, found + moved[image], -1),
            hits=placed.hits[rows],
            objects=Objects(shown, old.klass[objects], old.boxes[objects], old.side[objects]),
        )
    return replace(
        matches,
        names=tuple(matches.names[number] for number in images.tolist()),
        truths=matches.truths[images],
        image=image,
        klass=matches.klass[rows],
        score=matches.score[rows],
        hit=matches.hit[rows],
        placed=placed,
        unanswered=None if matches.unanswered is None else matches.unanswered[images],
    )


def named(matches: Matches, names: Sequence[str]) -> Matches | None:
    """The answers to images of these names, in this order; None if one of them is not among them."""
    number = {name: index for index, name in enumerate(matches.names)}
    if any(name not in number for name in names):
        return None
    return chosen(matches, np.array([number[name] for name in names], np.int64))


def joined(first: Matches, second: Matches) -> Matches:
    """The answers of one model to other images of the same classes behind the first ones.

    Where nobody kept the places of one of them, those of the other are dropped, too.
    """
    images = len(first.names)
    return replace(
        first,
        names=(*first.names, *second.names),
        truths=np.concatenate([first.truths, second.truths]),
        image=np.concatenate([first.image, second.image + images]),
        klass=np.concatenate([first.klass, second.klass]),
        score=np.concatenate([first.score, second.score]),
        hit=np.concatenate([first.hit, second.hit]),
        placed=_placed(first.placed, second.placed, images) if first.placed and second.placed else None,
        unanswered=_unanswered(first, second),
    )


def merged(newer: Matches, older: Matches | None) -> Matches:
    """What two lists of one model's answers say together; of an image in both, what the newer one says.

    Answers that were matched with other classes are of other labels, so nothing of them is taken.
    """
    if older is None or older.class_names != newer.class_names:
        return newer
    answered = set(newer.names)
    others = [number for number, name in enumerate(older.names) if name not in answered]
    return joined(newer, chosen(older, np.array(others, np.int64))) if others else newer


def _placed(first: Placed, second: Placed, images: int) -> Placed:
    before, behind = first.objects, second.objects
    return Placed(
        boxes=np.concatenate([first.boxes, second.boxes]),
        found=np.concatenate([first.found, np.where(second.found >= 0, second.found + len(before.image), -1)]),
        hits=np.concatenate([first.hits, second.hits]),
        objects=Objects(
            np.concatenate([before.image, behind.image + images]),
            np.concatenate([before.klass, behind.klass]),
            np.concatenate([before.boxes, behind.boxes]),
            np.concatenate([before.side, behind.side]),
        ),
    )


def _unanswered(first: Matches, second: Matches) -> Booleans | None:
    if first.unanswered is None and second.unanswered is None:
        return None
    known = [
        np.zeros(len(one.names), np.bool_) if one.unanswered is None else one.unanswered for one in (first, second)
    ]
    return np.concatenate(known)


def _rows(of: Integers, images: Integers, count: int) -> tuple[Integers, Integers, Integers]:
    """Rows of these images, of which image each is then, and by how much the rows of each image were moved.

    Args:
        of: the image of each row, in rising order.
        images: numbers of images.
        count: how many images there are.
    """
    starts = np.searchsorted(of, np.arange(count + 1))
    counts = np.diff(starts)[images]
    image = np.repeat(np.arange(len(images)), counts)
    moved = np.cumsum(counts) - counts - starts[:-1][images]
    return np.arange(counts.sum()) - moved[image], image, moved
