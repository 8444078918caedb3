from __future__ import annotations

import pytest

from banana_delivery.errors import DriftError, FencedError, ImageError, PassingError, TargetError
from banana_delivery.waiting import Backoff, Clock, Deadline, HeardClock, Retries, SystemClock, retry, wait_until
from tests.support.clock import HandClock


class Answers:
    """Gives one answer a call, the last one for ever; an exception is raised."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self) -> object:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def late(seen: object) -> TargetError:
    return TargetError(f"It was still {seen!r}.")


def test_the_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()

    before = clock.monotonic(), clock.time()
    clock.sleep(0.001)

    assert clock.monotonic() > before[0]
    assert clock.time() > before[1]


def test_waiting_ends_with_what_was_seen_last() -> None:
    clock, look = HandClock(), Answers("", "", "there")

    assert wait_until(look, 10.0, late, pause=2.0, clock=clock) == "there"
    assert clock.slept == [2.0, 2.0]


def test_what_ends_the_waiting_can_be_named() -> None:
    clock, look = HandClock(), Answers(3, 2, 0)

    assert wait_until(look, 10.0, late, done=lambda seen: seen == 0, clock=clock) == 0
    assert look.asked == 3


def test_waiting_in_vain_raises_an_error_made_of_what_was_seen_last() -> None:
    clock, look = HandClock(), Answers([1, 2], [])

    with pytest.raises(TargetError, match=r"It was still \[\]\."):
        wait_until(look, 5.0, late, done=lambda seen: seen is None, pause=2.0, clock=clock)
    assert clock.slept == [2.0, 2.0, 2.0]


def test_there_is_one_look_even_if_there_is_no_time() -> None:
    assert wait_until(Answers("there"), 0.0, late, clock=HandClock()) == "there"


def test_what_a_look_raises_ends_the_waiting() -> None:
    look = Answers("", ImageError("It crashed."), "there")

    with pytest.raises(ImageError, match="It crashed"):
        wait_until(look, 10.0, late, clock=HandClock())
    assert look.asked == 2


def test_progress_is_told_before_each_pause_and_not_at_the_end() -> None:
    clock, told = HandClock(), list[float]()

    wait_until(Answers("", "", "there"), 10.0, late, pause=1.0, meanwhile=lambda: told.append(clock.now), clock=clock)

    assert told == [1000.0, 1001.0]


def test_a_place_that_comes_back_in_time_is_all_that_is_seen() -> None:
    clock, told = HandClock(), list[str]()
    ask = Answers(TargetError("Gone."), TargetError("Still gone."), "back")

    assert retry(ask, 10.0, meanwhile=lambda error: told.append(str(error)), clock=clock) == "back"
    assert told == ["Gone.", "Still gone."]
    assert clock.slept == [1.0, 1.0]


def test_a_place_that_stays_away_is_asked_until_the_time_is_over() -> None:
    clock, ask = HandClock(), Answers(TargetError("Gone."))

    with pytest.raises(TargetError, match="Gone"):
        retry(ask, 3.0, clock=clock)
    assert clock.now - 1000.0 == pytest.approx(4.0)
    assert ask.asked == 5


@pytest.mark.parametrize("answer", [FencedError("Taken over."), DriftError("Changed by hand."), ValueError("A bug.")])
def test_what_no_other_try_cures_is_raised_at_once(answer: Exception) -> None:
    clock, ask = HandClock(), Answers(answer, "back")

    with pytest.raises(type(answer)):
        retry(ask, 10.0, clock=clock)
    assert ask.asked == 1
    assert clock.slept == []


def test_which_failures_pass_is_up_to_the_caller() -> None:
    ask = Answers(FencedError("Taken over."), OSError("Reset."), "back")

    assert retry(ask, 10.0, on=(FencedError, OSError), give_up=(), clock=HandClock()) == "back"


def test_whoever_is_told_of_a_failure_may_give_up() -> None:
    def give_up(error: TargetError) -> None:
        raise KeyboardInterrupt from error

    ask = Answers(TargetError("Gone."), "back")
    with pytest.raises(KeyboardInterrupt):
        retry(ask, 10.0, meanwhile=give_up, clock=HandClock())
    assert ask.asked == 1


def test_pauses_grow_up_to_the_longest() -> None:
    clock = HandClock()

    with pytest.raises(TargetError):
        retry(Answers(TargetError("Gone.")), 100.0, pause=Backoff(0.5, longest=3.0), tries=6, clock=clock)
    assert clock.slept == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_several_waits_share_a_deadline() -> None:
    clock = HandClock()
    deadline = Deadline(5.0, clock)

    clock.sleep(3.0)
    assert (deadline.elapsed, deadline.left, deadline.passed) == (3.0, 2.0, False)
    clock.sleep(3.0)
    assert (deadline.elapsed, deadline.left, deadline.passed) == (6.0, 0.0, True)


def test_waits_double_and_the_last_failure_says_how_often_it_was_tried() -> None:
    clock, told = HandClock(), list[str]()

    with pytest.raises(ImageError, match=r"It is down\. Tried 4 times\.") as caught:
        Retries(attempts=4, first_wait=1.0, clock=clock).call(Answers(PassingError("It is down.")), told.append)
    assert not isinstance(caught.value, PassingError)
    assert clock.slept == [1.0, 2.0, 4.0]
    assert told == [
        "It is down. Trying again in 1 s (1 of 4 tries).",
        "It is down. Trying again in 2 s (2 of 4 tries).",
        "It is down. Trying again in 4 s (3 of 4 tries).",
    ]


def test_a_second_try_that_succeeds_is_all_that_is_seen() -> None:
    answers = Answers(PassingError("Once."), "done")

    assert Retries(clock=HandClock()).call(answers, lambda line: None) == "done"


def test_a_failure_that_does_not_pass_is_not_tried_again() -> None:
    answers = Answers(ImageError("The disk is full."), "done")

    with pytest.raises(ImageError, match=r"The disk is full\.$"):
        Retries(clock=HandClock()).call(answers, lambda line: None)
    assert answers.asked == 1


def test_the_time_is_what_was_heard_last_and_passes_between_as_ours_does() -> None:
    ours = HandClock()
    heard = HeardClock(ours)
    assert heard() == ours.time()

    heard.hear({"Date": "Wed, 15 Nov 2023 00:00:00 GMT"})
    ours.sleep(90.0)
    assert heard() == 1_700_006_490.0

    old, strange = {"Date": "Tue, 14 Nov 2023 00:00:00 GMT"}, {"Date": "Thu, 16 Nov 2023 00:00:00"}
    for nothing in ({}, {"Date": "soon"}, old, strange):
        heard.hear(nothing)
    assert heard() == 1_700_006_490.0
