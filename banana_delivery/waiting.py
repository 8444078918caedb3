"""Waiting: until something is so, or until something that failed works again; always with an end.

Beside it, spans of time as other systems write them: the Gateway API's durations, and HTTP's ``Retry-After``.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from banana_delivery.errors import DriftError, FencedError, PassingError, TargetError, UnreachableError

AGAIN_SECONDS = 1.0
"""Between two tries of what failed: whoever is restarted needs about as long."""

Result = TypeVar("Result")


class Clock(Protocol):
    """What tells the time, and lets it pass."""

    def time(self) -> float:
        """Seconds since the epoch, as people and records count; may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment of this machine's past, the same for all of its processes; never jumps."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemClock:
    """This machine's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment of this machine's past."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str:
    """Which start of this machine its monotonic clock counts from; where nobody says, each process counts as one."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return _PROCESS


_PROCESS = f"process {uuid.uuid4()}"


@dataclass(frozen=True)
class Deadline:
    """A moment at which waiting ends, for several waits that share it.

    Attributes:
        seconds: from its making.
        clock: that it is read from.
    """

    seconds: float
    clock: Clock = SYSTEM_CLOCK
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_start", self.clock.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds since its making."""
        return self.clock.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds until it; 0 once it has passed."""
        return max(0.0, self.seconds - self.elapsed)

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.elapsed > self.seconds


@dataclass(frozen=True)
class Backoff:
    """Pauses that grow.

    Attributes:
        first: seconds of the first one.
        growth: each further one is so many times as long.
        longest: seconds that none exceeds.
    """

    first: float
    growth: float = 2.0
    longest: float = math.inf

    def after(self, tried: int) -> float:
        """Seconds between a try, counted from 1, and the next."""
        return min(self.first * self.growth ** (tried - 1), self.longest)


def wait_until(
    look: Callable[[], Result],
    seconds: float,
    late: Callable[[Result], Exception],
    *,
    done: Callable[[Result], object] = bool,
    pause: float = 0.1,
    meanwhile: Callable[[], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Result:
    """Look until what is seen is what was waited for; at least once, however little time there is.

    Args:
        look: looks; what it raises ends the waiting.
        seconds: how long at most.
        late: the error to raise then, made from what was seen last.
        done: whether something that was seen ends the waiting; by default, whether it is true.
        pause: seconds between two looks.
        meanwhile: called before each pause, for progress.
        clock: that the time is read from.

    Returns:
        What was seen last.
    """
    deadline = Deadline(seconds, clock)
    while not done(seen := look()):
        if deadline.passed:
            raise late(seen)
        if meanwhile:
            meanwhile()
        clock.sleep(pause)
    return seen


def retry(
    ask: Callable[[], Result],
    seconds: float,
    *,
    on: tuple[type[Exception], ...] = (TargetError,),
    give_up: tuple[type[Exception], ...] = (FencedError, DriftError),
    meanwhile: Callable[[Any], None] | None = None,
    pause: float | Backoff = AGAIN_SECONDS,
    tries: float = math.inf,
    clock: Clock = SYSTEM_CLOCK,
) -> Result:
    """What somebody answers, asked again while the asking fails: a place comes back sooner than a release is done anew.

    Args:
        ask: asks; at least once.
        seconds: how long it may fail.
        on: failures that another try may cure.
        give_up: those of them that no other try cures: an environment that somebody else took over is not given back
            by asking again, and one that somebody changed by hand is an answer.
        meanwhile: told the failure, before it is asked again; may raise to give up.
        pause: seconds between two tries.
        tries: how often it is asked at most.
        clock: that the time is read from.

    Raises:
        Exception: one of ``give_up``, or any other failure, at once; one of ``on`` once time or tries are used up.
    """
    deadline = Deadline(seconds, clock)
    backoff = pause if isinstance(pause, Backoff) else Backoff(pause, growth=1.0)
    tried = 0
    while True:
        tried += 1
        try:
            return ask()
        except give_up:
            raise
        except on as error:
            if deadline.passed or tried >= tries:
                raise
            if meanwhile:
                meanwhile(error)
            clock.sleep(backoff.after(tried))


@dataclass(frozen=True)
class Retries:
    """How often and how patiently to ask an engine or registry of images again.

    Attributes:
        attempts: tries in all.
        first_wait: seconds before the second try; each further wait is twice as long, or as long as was asked for.
        patience: seconds of waiting in all; who asks for more is not asked again.
        clock: that the waits are taken from.
    """

    attempts: int = 4
    first_wait: float = 1.0
    patience: float = 120.0
    clock: Clock = SYSTEM_CLOCK

    def call(self, attempt: Callable[[], Result], progress: Callable[[str], None]) -> Result:
        """The attempt's result.

        Raises:
            UnreachableError: the last attempt's, which says how often it was tried.
            ImageError: one that does not pass, at once.
        """
        waited = 0.0
        for tried in range(1, self.attempts):
            try:
                return attempt()
            except PassingError as error:
                wait = max(Backoff(self.first_wait).after(tried), error.pause)
                waited += wait
                if error.pause and waited > self.patience:
                    raise UnreachableError(
                        f"{error} It asks to be left alone for {error.pause:.0f} s; wait that long."
                    ) from error
                progress(f"{error} Trying again in {wait:g} s ({tried} of {self.attempts} tries).")
                self.clock.sleep(wait)
        try:
            return attempt()
        except PassingError as error:
            raise UnreachableError(f"{error} Tried {self.attempts} times.") from error


_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_MOST = 99_999
"""The Gateway API takes up to four numbers with a unit, each of five digits at most."""


def gateway_duration(seconds: float) -> str:
    """A span as the Gateway API takes it, ``([0-9]{1,5}(h|m|s|ms)){1,4}``, and exactly as long.

    Raises:
        ValueError: if it cannot be written so.
    """
    exact = Decimal(str(seconds)) * 1000
    if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value():
        raise ValueError("must be a number of seconds from 0 with at most three decimals")
    left = int(exact)
    if left <= _MOST:
        return f"{left}ms"
    parts = []
    for unit, length in _MILLISECONDS.items():
        number, left = divmod(left, length)
        if number > _MOST:
            raise ValueError(f"must be less than {_MOST + 1} hours")
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def retry_after(headers: Mapping[str, str]) -> float:
    """How many seconds a server asks to be left alone; 0 if it does not say, or not so that it can be understood.

    A date is compared with the ``Date`` of the same answer, so that only the server's own clock counts; without one it
    says nothing.

    Args:
        headers: the answer's, whose names may be in any case.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    then, now = _moment(said), _moment(headers.get("Date", ""))
    return max((then - now).total_seconds(), 0.0) if then and now else 0.0


class HeardClock:
    """The time as somebody's answers tell it, and between them by our monotonic clock; ours, before the first.

    Those who share a server and no machine have no other clock in common. It never goes back: an answer may come out of
    a cache, with the date that it was put there.

    Args:
        clock: ours.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._start: float | None = None

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._clock.time() if self._start is None else self._start + self._clock.monotonic()

    def hear(self, headers: Mapping[str, str]) -> None:
        """Take the time from an answer that says it.

        Args:
            headers: the answer's, whose names may be in any case.
        """
        if told := _moment(headers.get("Date", "")):
            start = told.timestamp() - self._clock.monotonic()
            self._start = start if self._start is None else max(self._start, start)


def _moment(text: str) -> datetime | None:
    """A date of HTTP's; None if it is not one."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None
