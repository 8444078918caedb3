"""A heartbeat that meets what nobody thought of: said, counted, and no delivery goes on as if nothing had been."""

from __future__ import annotations

import errno
import logging
import threading

import pytest
from typing_extensions import override

from banana_delivery.delivery.lease import Lease
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Environment
from banana_delivery.targets.base import Claim, Takeover
from banana_delivery.targets.fake import FakeTarget
from tests.support.claims import steal


class WithoutDescriptors(FakeTarget):
    """A target whose process runs out of file descriptors for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.failing, self.beaten, self.failed = True, threading.Semaphore(0), threading.Semaphore(0)

    @override
    def heartbeat(self, claim: Claim, look: str | None = None) -> None:
        if self.failing:
            self.failed.release()
            raise OSError(errno.EMFILE, "Too many open files")
        super().heartbeat(claim, look)
        self.beaten.release()


def test_an_unexpected_failure_is_logged_counted_and_fails_the_next_check_until_the_heart_beats_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = WithoutDescriptors()
    with caplog.at_level(logging.ERROR), Lease(target, Environment.PRODUCTION, "Ada", heartbeat_seconds=0.01) as lease:
        for _ in range(3):
            target.failed.acquire()
        with pytest.raises(TargetError, match=r"heartbeat of production failed \d+ times, .* Too many open files"):
            lease.check()
        target.failing = False
        for _ in range(2):
            target.beaten.acquire()
        lease.check()
    assert "The heartbeat of production failed for the 2. time." in caplog.messages


class Showing(FakeTarget):
    """A target that is written to as often as somebody sees something."""

    show_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str | None] = []
        self.beaten = threading.Semaphore(0)

    @override
    def heartbeat(self, claim: Claim, look: str | None = None) -> None:
        super().heartbeat(claim, look)
        self.looks.append(look)
        self.beaten.release()


def test_what_is_seen_is_written_at_once_with_a_sign_of_life_and_gone_when_the_environment_is_given_back() -> None:
    target = Showing()
    with Lease(target, Environment.PRODUCTION, "Ada", heartbeat_seconds=3600) as lease:
        before = target.record(Environment.PRODUCTION)
        lease.show("first")
        assert target.beaten.acquire(timeout=30)
        after = target.record(Environment.PRODUCTION)
        assert (after.look, after.beat) == ("first", before.beat + 1)
    assert target.record(Environment.PRODUCTION).look == ""


def test_what_is_seen_right_after_a_sign_of_life_waits_for_the_next_one_and_only_the_newest_is_written() -> None:
    target = Showing()
    target.show_seconds = 3600.0  # type: ignore[misc]
    with Lease(target, Environment.PRODUCTION, "Ada", heartbeat_seconds=0.05) as lease:
        lease._beaten_at = float("inf")
        lease.show("first")
        lease.show("second")
        assert target.beaten.acquire(timeout=30)
        assert target.beaten.acquire(timeout=30)
    assert [look for look in target.looks if look] == ["second"]


def test_a_change_of_the_owner_keeps_what_is_seen_and_another_owner_does_not() -> None:
    target = Showing()
    claim = target.claim(Environment.PRODUCTION, "Ada")
    target.heartbeat(claim, "seen")
    target.heartbeat(claim)
    stale = target.record(Environment.PRODUCTION).replace(look="older")
    assert target.write(claim, stale).look == "seen"
    steal(target, Environment.PRODUCTION, "Grace")
    assert target.record(Environment.PRODUCTION).look == ""


def test_a_look_that_is_written_between_sight_and_claim_does_not_outdate_what_was_seen() -> None:
    target = Showing()
    claim = target.claim(Environment.PRODUCTION, "Ada")
    before = target.record(Environment.PRODUCTION)
    target.heartbeat(claim, "seen since")
    assert target.claim(Environment.PRODUCTION, "Grace", seen=before, takeover=Takeover.ANYBODY).owner == "Grace"
