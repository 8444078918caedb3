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
from banana_delivery.targets.base import Claim
from banana_delivery.targets.fake import FakeTarget


class WithoutDescriptors(FakeTarget):
    """A target whose process runs out of file descriptors for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.failing, self.beaten, self.failed = True, threading.Semaphore(0), threading.Semaphore(0)

    @override
    def heartbeat(self, claim: Claim) -> None:
        if self.failing:
            self.failed.release()
            raise OSError(errno.EMFILE, "Too many open files")
        super().heartbeat(claim)
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
