"""What may go wrong at a call, and the seed that decides whether it does."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from types import TracebackType

from tests.chaos.kernel import Host, Kernel, Process


class Fate(StrEnum):
    """What becomes of one call."""

    PASSES = "passes"
    FAILS = "fails, nothing done"
    HANGS = "hangs, then fails"
    SLOW = "takes long"
    LOST = "is done, but the answer is lost"
    LOST_LATE = "is done, hangs, and the answer is lost"
    KILLED_BEFORE = "process killed before"
    KILLED_AFTER = "process killed after"
    FROZEN = "process frozen, goes on later"
    OUTAGE = "this system is away from now on, for a while"
    DISK_FULL = "the disk is full from now on, for a while"
    CLOCK_STEP = "the wall clock of this host jumps"
    THREAD_DIES = "this thread meets what nobody expected"


ON_READS = (
    Fate.FAILS,
    Fate.HANGS,
    Fate.SLOW,
    Fate.KILLED_BEFORE,
    Fate.FROZEN,
    Fate.OUTAGE,
    Fate.DISK_FULL,
    Fate.CLOCK_STEP,
)
ON_CHANGES = (*ON_READS, Fate.LOST, Fate.LOST_LATE, Fate.KILLED_AFTER)
DISK = "disk"
RATES = (0.001, 0.003, 0.008, 0.02)
"""Share of calls that go wrong; a delivery makes some hundred, and too much at once hides what one thing does."""
LONGEST_HANG, LONGEST_OUTAGE, LONGEST_FREEZE = 20.0, 90.0, 120.0
"""Seconds. An adapter's own timeouts end a call before the first."""
STEPS = (-3600.0, -90.0, -1.0, 1.0, 90.0, 3600.0)


class DatabaseAwayError(Exception):
    """Whatever Dagster's storage raises when it does not answer; no error of the product."""


@dataclass
class Faults:
    """Decides at every call.

    Attributes:
        random: of the seed.
        rate: share of the calls that go wrong.
        kinds: what may go wrong in this seed; few at a time, so that every mix occurs in some.
        on: whether anything goes wrong now.
        away: until when a system does not answer, by its name.
    """

    random: Random
    kinds: frozenset[Fate] = frozenset()
    rate: float = 0.0
    on: bool = True
    away: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_seed(cls, source: Random, allowed: tuple[Fate, ...]) -> Faults:
        """A seed's own mix of kinds."""
        kinds = frozenset(source.sample(allowed, source.randint(1, min(4, len(allowed)))))
        return cls(source, kinds, source.choice(RATES))

    def decide(self, system: str, *, changes: bool, main: bool, now: float) -> Fate:
        """The fate of one call."""
        if not self.on:
            return Fate.PASSES
        if self.away and self.away.get(system, 0.0) > now:
            return Fate.FAILS
        if self.random.random() >= self.rate:
            return Fate.PASSES
        if not main and Fate.THREAD_DIES in self.kinds:
            return Fate.THREAD_DIES
        wanted = [fate for fate in (ON_CHANGES if changes else ON_READS) if fate in self.kinds]
        return self.random.choice(wanted) if wanted else Fate.PASSES


@dataclass(frozen=True)
class Entry:
    """One line of the story."""

    at: float
    who: str
    what: str
    fate: Fate | None = None


@dataclass
class Machine:
    """The simulated machine with what may go wrong on it, and its story.

    Attributes:
        kernel: time and order.
        faults: the seed's decisions.
        story: every call, in order.
        hosts: the cluster's, and a person's own.
    """

    kernel: Kernel
    faults: Faults
    story: list[Entry] = field(default_factory=list)
    hosts: dict[str, Host] = field(default_factory=lambda: {name: Host(name) for name in ("cluster", "desk")})

    def tell(self, what: str, fate: Fate | None = None) -> None:
        """Add a line to the story."""
        thread = self.kernel.thread
        self.story.append(Entry(self.kernel.now, thread.name if thread else "world", what, fate))

    def call(
        self, system: str, what: str, error: Callable[[str], Exception], *, changes: bool = True, may_wait: bool = True
    ) -> Call:
        """One call of an outside system, to be made as a context manager around its effect.

        Args:
            system: which one; an outage hits all calls of one.
            what: for the story.
            error: what the system's adapter raises when it fails.
            changes: whether it changes anything.
            may_wait: whether others may run meanwhile.
        """
        return Call(self, system, what, error, changes=changes, may_wait=may_wait)

    def freeze(self, process: Process, seconds: float) -> None:
        """Stop all threads of a process for a while."""
        process.frozen_until = self.kernel.now + seconds


class Call:
    """One call under way: other processes run while it travels, and the seed decides what becomes of it."""

    __slots__ = ("_changes", "_error", "_fate", "_machine", "_may_wait", "_system", "_what")

    def __init__(
        self,
        machine: Machine,
        system: str,
        what: str,
        error: Callable[[str], Exception],
        *,
        changes: bool,
        may_wait: bool,
    ) -> None:
        self._machine, self._system, self._what, self._error = machine, system, what, error
        self._changes, self._may_wait = changes, may_wait
        self._fate = Fate.PASSES

    def __enter__(self) -> Call:
        machine, kernel = self._machine, self._machine.kernel
        thread = kernel.thread
        if thread is None:
            return self
        process = thread.process
        process.stop_if_dead()
        faults = machine.faults
        if self._may_wait:
            kernel.sleep(faults.random.random() * 0.02)
        fate = faults.decide(self._system, changes=self._changes, main=thread.is_main, now=kernel.now)
        machine.story.append(Entry(kernel.now, thread.name, self._what, fate))
        if fate is not Fate.PASSES:
            self._fate = fate
            self._before(process)
        if thread.is_main and process.interrupt is not None:
            interrupt, process.interrupt = process.interrupt, None
            machine.tell("is interrupted")
            raise interrupt
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None or self._fate is Fate.PASSES:
            return
        kernel = self._machine.kernel
        match self._fate:
            case Fate.KILLED_AFTER if kernel.process:
                kernel.kill(kernel.process)
            case Fate.LOST:
                raise self._fault()
            case Fate.LOST_LATE:
                self._hang()
                raise self._fault()

    def _before(self, process: Process) -> None:
        machine, kernel, chance = self._machine, self._machine.kernel, self._machine.faults.random
        match self._fate:
            case Fate.FAILS:
                raise self._fault()
            case Fate.HANGS:
                self._hang()
                raise self._fault()
            case Fate.SLOW:
                self._hang()
            case Fate.KILLED_BEFORE:
                kernel.kill(process)
            case Fate.FROZEN:
                machine.freeze(process, chance.uniform(5.0, LONGEST_FREEZE))
                self._hang(0.0)
            case Fate.OUTAGE:
                machine.faults.away[self._system] = kernel.now + chance.uniform(1.0, LONGEST_OUTAGE)
                raise self._fault()
            case Fate.DISK_FULL:
                machine.faults.away[DISK] = kernel.now + chance.uniform(1.0, LONGEST_OUTAGE)
            case Fate.CLOCK_STEP:
                step = chance.choice(STEPS)
                process.host.offset += step
                machine.tell(f"the clock of {process.host.name} jumps by {step:+.0f} s")
            case Fate.THREAD_DIES:
                raise OSError(errno.EMFILE, "Too many open files")

    def _hang(self, seconds: float | None = None) -> None:
        machine = self._machine
        if self._may_wait:
            chance = machine.faults.random
            machine.kernel.sleep(chance.uniform(1.0, LONGEST_HANG) if seconds is None else seconds)

    def _fault(self) -> Exception:
        return self._error(f"{self._what} {self._fate or Fate.FAILS} (simulated)")


def disk_error(said: str) -> OSError:
    """What a full disk raises."""
    return OSError(errno.ENOSPC, said)
