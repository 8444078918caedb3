"""Whether a delivery is to end is asked beside it, heard once for ever, and never ends the way back."""

from __future__ import annotations

import threading

import pytest

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.live import beside
from banana_delivery.delivery.live.ending import EndWatch
from banana_delivery.errors import DagsterError
from banana_delivery.policy.model import Environment
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.waiting import wait_until


class Ended(BaseException):
    """As a cancel is."""


def end() -> None:
    raise Ended


def is_ended(watch: EndWatch) -> bool:
    try:
        watch()
    except Ended:
        return True
    return False


def test_while_nobody_answers_a_delivery_goes_on_and_what_was_heard_stays_heard() -> None:
    said: list[bool | Exception] = [DagsterError("The database is away."), False, True, DagsterError("Away again.")]

    def ask() -> bool:
        answer = said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = EndWatch(ask, end)
    assert [is_ended(watch) for _ in range(4)] == [False, False, True, True]


def test_an_instance_that_hangs_keeps_no_look_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "PATIENCE_SECONDS", 0.01)
    answers, asked = threading.Event(), []

    def hang() -> bool:
        asked.append(True)
        return answers.wait(30)

    watch = EndWatch(hang, end)
    assert [is_ended(watch) for _ in range(3)] == [False] * 3
    assert len(asked) == 1
    answers.set()
    wait_until(lambda: is_ended(watch), 10.0, lambda _: AssertionError("it never heard of it"), pause=0.01)


def test_whoever_holds_an_environment_ends_at_a_look_and_not_on_the_way_back() -> None:
    with Lease(FakeTarget(), Environment.PRODUCTION, "run", heartbeat_seconds=3600.0, ends=end) as lease:
        with pytest.raises(Ended):
            lease.check()
        lease.check_claim()
