"""What is told to who watches without a terminal, and to who waits for one delivery."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from banana_delivery.delivery.live.following import Following, steps_of
from banana_delivery.delivery.live.watcher import SAID_SECONDS, Teller
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Environment, Phase
from banana_delivery.policy.rollout.live import LiveStep
from banana_delivery.reports.overview import Overview
from banana_delivery.targets.fake import FakeTarget
from tests.support.clock import HandClock
from tests.unit.reports.test_terminal import AT_REST, NOW
from tests.unit.reports.test_watching import STEP, UNDER_WAY


def test_each_state_and_each_step_is_told_once_and_a_long_step_again_after_a_while() -> None:
    teller = Teller()
    first = list(teller.told(Overview(NOW, [UNDER_WAY])))
    assert [line.partition(":")[0] for line in first] == ["production", "step 3/7 shift at 40 %"]
    assert list(teller.told(Overview(NOW + 1, [UNDER_WAY.replace(heartbeat=NOW, beat=9)]))) == []
    later = UNDER_WAY.replace(look=STEP.replace(number=4, weight=60).model_dump_json())
    assert [line.partition(":")[0] for line in teller.told(Overview(NOW + 2, [later]))] == ["step 4/7 shift at 60 %"]
    assert len(list(teller.told(Overview(NOW + 2 + SAID_SECONDS, [later])))) == 1
    assert list(teller.told(Overview(NOW + 60, [AT_REST]))) == ["production: idle"]


def test_that_a_step_is_paused_and_goes_on_is_told_at_once() -> None:
    teller = Teller()
    assert len(list(teller.step(STEP, NOW))) == 1
    (line,) = teller.step(STEP.replace(paused="ada: lunch"), NOW + 1)
    assert "paused, ada: lunch" in line
    assert len(list(teller.step(STEP, NOW + 2))) == 1


def test_only_the_steps_of_the_delivery_that_is_waited_for_are_shown() -> None:
    target = FakeTarget()
    claim = target.claim(Environment.PRODUCTION, "run")
    target.write(claim, target.record(Environment.PRODUCTION).replace(phase=Phase.SHIFTING))
    target.heartbeat(claim, STEP.model_dump_json())
    assert steps_of(target, "run")() == STEP
    assert steps_of(target, "another")() is None


def test_without_a_terminal_lines_are_said_and_what_cannot_be_asked_hinders_nothing() -> None:
    answers: list[LiveStep | Exception] = [STEP, TargetError("The record is away."), STEP.replace(number=2)]
    said: list[str] = []
    done = threading.Event()

    def ask() -> LiveStep | None:
        if not answers:
            done.set()
            return None
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    console = Console(file=io.StringIO(), width=80)
    with Following(console, "Delivering version 7", ask, said.append, HandClock(NOW), pause=0.001):
        assert done.wait(30)
    assert [line.partition(" shift")[0] for line in said] == ["step 2/7", "step 3/7"]
