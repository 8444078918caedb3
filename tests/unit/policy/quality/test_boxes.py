from dataclasses import replace

import numpy as np

from banana_delivery.policy.quality.boxes import MOST_BOXES, Author, boxes_on, errors_of
from banana_delivery.policy.quality.disagreements import disagreements
from banana_delivery.policy.quality.matching import Detections, Floats, Labelled, Matches, Truth, match_answers
from tests.unit.policy.quality.random_leaves import random_answers

CLASSES = ("streak", "spot")


def answers(boxes: list[list[float]], classes: list[int], scores: list[float], labels: int = 2) -> Matches:
    truth = Truth(squares(labels), np.zeros(labels, np.int64))
    found = Detections(np.array(boxes, np.float64).reshape(-1, 4), np.array(classes, np.int64), np.array(scores))
    return match_answers([Labelled("leaf", truth, found)], CLASSES)


def squares(count: int) -> Floats:
    left = 20.0 * np.arange(count)
    return np.stack([left, np.zeros(count), left + 10, np.full(count, 10.0)], axis=1)


def test_each_error_is_at_its_box_and_in_the_words() -> None:
    good = answers([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0], [0.9, 0.8])
    other_class = answers([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 1], [0.9, 0.8])
    boxes = boxes_on("leaf", other_class, good)
    assert [(one.author, one.missed_by, one.false, one.class_name) for one in boxes] == [
        (Author.LABEL, (Author.CANDIDATE,), False, "streak"),
        (Author.LABEL, (), False, "streak"),
        (Author.PRODUCTION, (), False, "streak"),
        (Author.PRODUCTION, (), False, "streak"),
        (Author.CANDIDATE, (), True, "spot"),
        (Author.CANDIDATE, (), False, "streak"),
    ]
    assert errors_of(Author.CANDIDATE, boxes) == "missed 1 streak; found 1 spot that is not there"
    assert errors_of(Author.PRODUCTION, boxes) == "no errors"


def test_what_users_do_not_see_is_missed() -> None:
    unsure = answers([[0, 0, 10, 10]], [0], [0.2], labels=1)
    (label,) = boxes_on("leaf", unsure, unsure)
    assert label.missed_by == (Author.PRODUCTION, Author.CANDIDATE)


def test_boxes_and_counts_say_the_same() -> None:
    candidate = random_answers(200, seed=1, noise=9.0, model_seed=1)
    production = random_answers(200, seed=1, noise=1.0)
    for one in disagreements(candidate, production):
        boxes = boxes_on(one.image, candidate, production)
        assert sum(Author.CANDIDATE in box.missed_by for box in boxes) == one.candidate_missed
        assert sum(Author.PRODUCTION in box.missed_by for box in boxes) == one.production_missed
        assert sum(box.false for box in boxes if box.author is Author.CANDIDATE) == one.candidate_false
        assert sum(box.false for box in boxes if box.author is Author.PRODUCTION) == one.production_false


def test_of_a_hundred_boxes_those_that_are_wrong_are_shown() -> None:
    many = answers(squares(99).tolist(), [0] * 99, [0.9] * 99, labels=100)
    boxes = boxes_on("leaf", many, many)
    assert [sum(one.author is author for one in boxes) for author in Author] == [MOST_BOXES] * 3
    assert boxes[0].missed_by


def test_answers_whose_places_nobody_kept_have_no_boxes() -> None:
    kept = answers([[0, 0, 10, 10]], [0], [0.9])
    assert boxes_on("leaf", kept, replace(kept, placed=None)) == ()
