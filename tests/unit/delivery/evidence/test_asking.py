"""A question goes on from look to look: slow answers count once, no metric is asked twice at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from banana_delivery.delivery.evidence import asking
from banana_delivery.delivery.evidence.asking import Question, Questions
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric
from tests.unit.policy.own_metrics.metrics import VALUE, metric

ONE = metric(VALUE, interval_seconds=10)
BOTH = ({"colour": "green"}, {"colour": "blue"})
ANSWER = (Measurement(value=1.0), Measurement(value=1.0))


@dataclass
class Slow:
    """Answers once it may.

    Attributes:
        may: whether it does.
        asked: about which colours.
        together: met by two that are asked at once.
    """

    may: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))

    def measure(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        del metric
        self.asked.append(names["colour"])
        self.together.wait(10)
        self.may.wait(10)
        return Measurement(value=1.0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.02)
    source = Slow()
    yield source
    source.may.set()


def heard(questions: Questions, counted: float | None = None) -> list[tuple[str, float, asking.Answered]]:
    return list(questions.news({ONE.name: counted}))


def answered(question: Question) -> None:
    question.wait(time.monotonic() + 10)
    assert not question.is_open


def test_an_answer_that_takes_longer_than_a_look_counts_at_a_later_one_by_when_it_was_asked_for(slow: Slow) -> None:
    questions = Questions()
    for seconds in (0.0, 5.0, 10.0, 15.0):
        questions.ask_if_due(slow, ONE, BOTH, seconds, None)
        assert heard(questions) == []
    assert sorted(slow.asked) == ["blue", "green"]
    slow.may.set()
    answered(questions._latest[ONE.name])
    questions.ask_if_due(slow, ONE, BOTH, 3.0, None)
    assert heard(questions) == [(ONE.name, 0.0, ANSWER)]


def test_an_answer_is_news_until_it_counts(slow: Slow) -> None:
    questions = Questions()
    slow.may.set()
    questions.ask_if_due(slow, ONE, BOTH, 7.0, None)
    answered(questions._latest[ONE.name])
    assert heard(questions) == heard(questions) == [(ONE.name, 7.0, ANSWER)]
    assert heard(questions, counted=7.0) == []


@pytest.mark.parametrize(("counted", "due"), [(None, True), (3.0, False), (2.0, True)])
def test_the_interval_counts_from_the_question_before_whoever_asked_it(
    slow: Slow, counted: float | None, due: bool
) -> None:
    Questions().ask_if_due(slow, ONE, BOTH, 12.0, counted)
    assert (not slow.asked) is (not due)


def test_what_was_asked_about_another_watch_is_forgotten(slow: Slow) -> None:
    questions = Questions("one")
    questions.ask_if_due(slow, ONE, BOTH, 700.0, None)
    slow.may.set()
    answered(questions._latest[ONE.name])
    questions.begin("one")
    assert heard(questions)
    questions.begin("another")
    assert heard(questions) == []
    questions.ask_if_due(slow, ONE, BOTH, 0.0, None)
    answered(questions._latest[ONE.name])
    assert heard(questions) == [(ONE.name, 0.0, ANSWER)]
