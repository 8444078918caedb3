"""What happened in a measured stretch of time: which requests completed, and where the cores' time went.

Throughput on a machine that others use too says as much about them as about the server. So each run also tells what a
request cost: the time of all cores that nobody else used, divided by the requests. It holds the server's CPU time, the
client's, and the time in which a core idled because the server had nothing ready for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

WARM_UP_SECONDS = 1.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Window:
    """The time from `begin` for `seconds`, on the clock of `time.perf_counter`, and what completed in it."""

    begin: float
    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def end(self) -> float:
        """When the window closes."""
        return self.begin + self.seconds

    def completed(self, started: float) -> None:
        """Counts a request that was started then and is answered now, if the window is open."""
        now = time.perf_counter()
        if self.begin <= now < self.end:
            self.latencies.append(now - started)


@dataclass(frozen=True)
class CoreTime:
    """Seconds of core time so far: of the whole machine, idle and busy, and of the two parties."""

    idle: float
    busy: float
    server: float
    client: float

    @classmethod
    def now(cls, servers: Sequence[int]) -> CoreTime:
        """Reads the clocks; without a server the client is all there is."""
        user, nice, system, idle, waiting, *interrupts = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        busy = user + nice + system + sum(interrupts)
        own = os.times()
        return cls((idle + waiting) / TICK, busy / TICK, sum(map(_tree_seconds, servers)), own.user + own.system)

    def since(self, before: CoreTime) -> CoreTime:
        """What was used since."""
        return CoreTime(
            self.idle - before.idle, self.busy - before.busy, self.server - before.server, self.client - before.client
        )


def _tree_seconds(pid: int) -> float:
    total, process = 0.0, psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def measured(window: Window, servers: Sequence[int] = ()) -> dict[str, object]:
    """Waits for the window to close; returns latencies (ms) and, for each request, milliseconds of core time."""
    time.sleep(max(0.0, window.begin - time.perf_counter()))
    before = CoreTime.now(servers)
    time.sleep(max(0.0, window.end - time.perf_counter()))
    used = CoreTime.now(servers).since(before)
    requests = max(1, len(window.latencies))
    return {
        "per_second": round(len(window.latencies) / window.seconds, 2),
        "latencies_ms": [round(seconds * 1000, 2) for seconds in window.latencies],
        "core_ms": round((used.idle + used.server + used.client) / requests * 1000, 3),
        "server_ms": round(used.server / requests * 1000, 3),
        "client_ms": round(used.client / requests * 1000, 3),
        "others_cores": round((used.busy - used.server - used.client) / window.seconds, 2),
    }
