"""A machine that is simulated: time, processes and threads, in an order that nothing but the seed decides.

Every thread is a greenlet, so that only one runs at a time and another one takes over only where it waits. A process
can be killed: whatever its threads do after that, nothing answers them any more, so that no ``finally`` has an effect.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet

EPOCH = 1_800_000_000.0
"""What the wall clocks show at first, seconds."""


class KilledError(BaseException):
    """The process was killed; raised out of every call that it still makes. Nobody may catch it for good."""


@dataclass
class Host:
    """A machine with a wall clock of its own.

    Attributes:
        name: for the story.
        offset: seconds by which its wall clock is wrong.
    """

    name: str
    offset: float = 0.0


@dataclass(eq=False)
class Process:
    """A process.

    Attributes:
        name: for the story.
        host: where it runs.
        pid: its number.
        alive: whether it was neither killed nor ended.
        frozen_until: it does nothing before, like one that was stopped or whose machine sleeps.
        threads: those that were begun and have not ended.
        interrupt: raised from its next call, once.
        on_end: called once it has ended, however.
    """

    name: str
    host: Host
    pid: int
    alive: bool = True
    frozen_until: float = 0.0
    threads: list[Thread] = field(default_factory=list)
    interrupt: BaseException | None = None
    on_end: Callable[[], None] | None = None

    def stop_if_dead(self) -> None:
        """Whatever a killed process still calls does not answer."""
        if not self.alive:
            raise KilledError(self.name)


@dataclass(eq=False)
class Thread:
    """A thread of a process.

    Attributes:
        process: whose it is.
        name: for the story.
        body: the greenlet that runs it.
        is_main: whether the process ends with it.
        ended: whether it did.
        killed: whether it alone is to die where it is.
        ticket: of its latest wish to be woken; earlier ones are void.
        joined: those that wait for its end.
    """

    process: Process
    name: str
    body: greenlet = field(init=False)
    is_main: bool = False
    ended: bool = False
    killed: bool = False
    ticket: int = 0
    joined: list[Thread] = field(default_factory=list)


class Kernel:
    """Time and the order of everything.

    Attributes:
        now: seconds since the machine was started; no process sees another ``monotonic``.
        crashes: what ended a main thread and was no error that its kind of process may end with.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.processes: list[Process] = []
        self.crashes: list[tuple[str, BaseException]] = []
        self._waiting: list[tuple[float, int, Thread]] = []
        self._numbers = 0
        self._hub = getcurrent()
        self._running: Thread | None = None

    @property
    def thread(self) -> Thread | None:
        """The one that runs; None while nobody does and the simulator itself looks."""
        return self._running

    @property
    def process(self) -> Process | None:
        """The process that runs."""
        return self._running.process if self._running else None

    def wall(self) -> float:
        """What the wall clock of the running process shows."""
        process = self.process
        return EPOCH + self.now + (process.host.offset if process else 0.0)

    def start(
        self,
        name: str,
        host: Host,
        main: Callable[[], object],
        *,
        delay: float = 0.0,
        on_end: Callable[[], None] | None = None,
    ) -> Process:
        """Start a process; it ends with its main thread."""
        process = Process(name, host, len(self.processes) + 1, on_end=on_end)
        self.processes.append(process)
        self.start_thread(process, name, main, is_main=True, delay=delay)
        return process

    def start_thread(
        self, process: Process, name: str, main: Callable[[], object], *, is_main: bool = False, delay: float = 0.0
    ) -> Thread:
        """Start a thread; it first runs when somebody waits."""
        thread = Thread(process, name, is_main=is_main)
        thread.body = greenlet(lambda: self._live(thread, main), self._hub)
        process.threads.append(thread)
        self._wake(thread, self.now + delay)
        return thread

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass for the running thread.

        Raises:
            KilledError: if its process was killed, or it alone.
        """
        thread = self._running
        if thread is None:
            self.now += seconds
            return
        thread.process.stop_if_dead()
        self._wake(thread, self.now + max(seconds, 0.0))
        self._hub.switch()
        if thread.killed:
            raise KilledError(thread.name)
        thread.process.stop_if_dead()

    def kill(self, process: Process) -> None:
        """Kill a process; if it is the running one, this raises ``KilledError``."""
        self._end(process)
        if self._running and self._running.process is process:
            raise KilledError(process.name)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let everybody live until a moment, or until something is so."""
        while self._waiting and not done():
            at, ticket, thread = self._waiting[0]
            if at > until:
                break
            heapq.heappop(self._waiting)
            if thread.ended or ticket != thread.ticket:
                continue
            if thread.process.frozen_until > at and thread.process.alive:
                self._wake(thread, thread.process.frozen_until)
                continue
            self.now = max(self.now, at)
            self._switch(thread)
        else:
            return
        self.now = max(self.now, until)

    def close(self) -> None:
        """Kill whatever still lives."""
        for process in self.processes:
            self._end(process)

    def wake(self, thread: Thread) -> None:
        """Let a sleeping thread go on now."""
        self._wake(thread, self.now)

    def _wake(self, thread: Thread, at: float) -> None:
        self._numbers += 1
        thread.ticket = self._numbers
        heapq.heappush(self._waiting, (at, self._numbers, thread))

    def _switch(self, thread: Thread, *arguments: Any) -> None:
        before, self._running = self._running, thread
        try:
            thread.body.switch(*arguments)
        finally:
            self._running = before

    def _end(self, process: Process) -> None:
        """Every thread unwinds; since nothing answers a dead process, that changes nothing."""
        if process.alive:
            process.alive = False
            if process.on_end:
                process.on_end()
        if getcurrent() is not self._hub:
            for thread in process.threads:
                if thread is not self._running:
                    self._wake(thread, self.now)
            return
        for thread in list(process.threads):
            self._switch(thread)

    def _live(self, thread: Thread, main: Callable[[], object]) -> None:
        process = thread.process
        try:
            process.stop_if_dead()
            main()
        except KilledError:
            pass
        except BaseException as error:  # noqa: BLE001 - like an interpreter, which shows it and ends
            if thread.is_main or not isinstance(error, OSError):  # A thread that ends of one is meant to be survived.
                self.crashes.append((thread.name, error))
        thread.ended = True
        for waiting in thread.joined:
            if not waiting.ended:
                self.wake(waiting)
        process.threads.remove(thread)
        if thread.is_main and process.alive:
            self._end(process)


class Event:
    """``threading.Event`` of the simulated machine."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._set = False
        self._waiting: list[Thread] = []

    def set(self) -> None:
        """Wake whoever waits."""
        self._set = True
        for thread in self._waiting:
            if not thread.ended:
                self._kernel.wake(thread)

    def clear(self) -> None:
        """Let whoever waits from now on sleep again."""
        self._set = False

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is set, or for so many seconds."""
        thread = self._kernel.thread
        if self._set or thread is None:
            return self._set
        self._waiting.append(thread)
        try:
            self._kernel.sleep(1e9 if timeout is None else timeout)
        finally:
            self._waiting.remove(thread)
        return self._set


class SimulatedThread:
    """``threading.Thread`` of the simulated machine: one more thread of the process that makes it."""

    def __init__(
        self,
        kernel: Kernel,
        target: Callable[..., object],
        name: str = "thread",
        args: tuple[object, ...] = (),
        daemon: bool = True,
    ) -> None:
        del daemon  # The machine's processes end with their main thread.
        self._kernel, self._name = kernel, name
        self._main = lambda: target(*args)
        self._thread: Thread | None = None

    def start(self) -> None:
        process = self._kernel.process
        if process is None:
            return
        process.stop_if_dead()
        self._thread = self._kernel.start_thread(process, f"{self._name} of {process.name}", self._main)

    def is_alive(self) -> bool:
        return self._thread is not None and not self._thread.ended

    def join(self, timeout: float | None = None) -> None:
        running = self._kernel.thread
        if running and self._thread and not self._thread.ended:
            self._thread.joined.append(running)
            self._kernel.sleep(1e9 if timeout is None else timeout)
