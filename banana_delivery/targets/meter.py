"""Adding up what single processes counted, and what it comes to by the project's classes of failure. Pure.

Nothing absolute is passed on: routers restart, replicas come and go, a Prometheus loses sight of one. ``Meter`` takes
the increase of every series of every single process and adds the increases up; a sum over processes is never
subtracted from another, because one that starts again makes it fall, and all that the others ever counted would pass
for new.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from banana_delivery.policy.model import Colour, Counters, TrafficSnapshot, TrafficSource

GAVE_UP, OVERLOAD, RETRY, EDGE = "gave up", "overload", "retry", "le "
UNFINISHED, UNFINISHED_LATE = "unfinished", "unfinished, late"
"""What a counter may be of, beside an HTTP status; an edge of the latency's histogram begins with the last."""

_STATUS = re.compile("[1-5][0-9][0-9]")
_SAME_START_SECONDS = 1.5
"""A process works its start out from the machine's boot time, which is rounded anew to a second now and then."""


@dataclass(frozen=True)
class Sample:
    """One cumulative counter of one process.

    Attributes:
        backend: ``Backend.key`` of what it counts.
        what: an HTTP status, or one of the names above.
        series: tells the counter from the process's others.
        value: its count.
        histogram: the edges of one histogram have this in common: they start again together.
    """

    backend: str
    what: str
    series: str
    value: int
    histogram: str = ""


@dataclass(frozen=True)
class Scrape:
    """What one process had counted at one moment.

    Attributes:
        process: names it; empty: the counts are sums over processes that nobody names.
        samples: its counters.
        start: when it started, as it says itself; None if it does not. Compared with nothing but itself.
        age: seconds since it started, both ends by one clock; None if nobody knows.
        relayed: somebody passes its figures on, and may pass on older ones after newer ones.
    """

    process: str
    samples: tuple[Sample, ...]
    start: float | None = None
    age: float | None = None
    relayed: bool = False


@dataclass
class _Process:
    start: float | None
    last: dict[str, int] = field(default_factory=dict)
    fallen: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of a sum that has fallen: what it was before, and how much was added since."""

    def increase_of_sum(self, series: str, value: int) -> int:
        """How much a sum over processes that nobody names has grown for sure.

        It falls by what one of its processes had counted, which either began again or is lost from sight. So nothing is
        new at the fall, and a sum that is back where it was has only got back what was lost.
        """
        last = self.last.get(series, 0)
        if value < last:
            mark, _ = self.fallen.get(series, (last, 0))
            self.fallen[series] = (max(mark, last), 0)
            return 0
        mark, added = self.fallen.get(series, (0, 0))
        if series in self.fallen and value < mark:
            self.fallen[series] = (mark, added + value - last)
        elif series in self.fallen:
            del self.fallen[series]
            return max(0, value - mark - added)
        return value - last


@dataclass
class Meter:
    """Adds up what was counted, for one environment, from the first poll on; what that one shows is only the start.

    Attributes:
        name: snapshots of two meters have nothing in common that could be subtracted.
    """

    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _began: float | None = None
    _processes: dict[str, list[_Process]] = field(default_factory=lambda: defaultdict(list))
    _totals: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    _failed_503: dict[str, int] = field(default_factory=dict)
    _failed_uploads: dict[str, tuple[int, int]] = field(default_factory=dict)
    _silent: frozenset[Colour] = frozenset()
    _silent_before: frozenset[Colour] = frozenset()

    def take(self, scrapes: Iterable[Scrape], at: float, *, silent: Collection[Colour] = ()) -> None:
        """Add the increases of one poll.

        Args:
            scrapes: everything that was read at this poll.
            at: when it began, in seconds of any clock that only goes forward.
            silent: colours of which a replica that runs did not answer.
        """
        elapsed = None if self._began is None else at - self._began
        self._began = at if self._began is None else self._began
        self._silent_before, self._silent = self._silent, frozenset(silent)
        for scrape in scrapes:
            self._add(scrape, elapsed)

    def snapshot(self, at: float, digests: dict[str, str], backends: Iterable[str] = ()) -> TrafficSnapshot:
        """Everything so far.

        Args:
            at: seconds of a clock that only goes forward.
            digests: by colour, what its replicas say they run.
            backends: shown even if nothing was counted on them.
        """
        backends = sorted({*backends, *(backend for backend, _ in self._totals)})
        return TrafficSnapshot(
            at=at, backends={key: self._counters(key) for key in backends}, digests=digests, meter=self.name
        )

    def _add(self, scrape: Scrape, elapsed: float | None) -> None:
        process, is_history = self._process(scrape, elapsed)
        begun_anew = {item.histogram for item in scrape.samples if item.value < process.last.get(item.series, 0)} - {""}
        for sample in scrape.samples:
            last = process.last.get(sample.series, 0)
            fell = sample.value < last
            if fell and scrape.relayed and scrape.start is not None:
                # The process is the same, so this is an older answer, as of the other one of two Prometheus servers.
                continue
            if is_history:
                increase = 0
            elif not scrape.process:
                increase = process.increase_of_sum(sample.series, sample.value)
            else:
                increase = sample.value if fell or sample.histogram in begun_anew else sample.value - last
            process.last[sample.series] = sample.value
            self._totals[sample.backend, sample.what] += increase

    def _process(self, scrape: Scrape, elapsed: float | None) -> tuple[_Process, bool]:
        """The process that speaks, and whether what it shows first was counted before we looked for the first time."""
        known = self._processes[scrape.process]
        for process in reversed(known):
            if scrape.start is None or process.start is None or _same(scrape.start, process.start):
                process.start = scrape.start if process.start is None else process.start
                return process, False
        earlier = [process.start for process in known if process.start is not None]
        is_later = bool(earlier) and scrape.start is not None and scrape.start > max(earlier)
        # One that took the place of another one started since that was last seen, unless its age says otherwise.
        is_new = is_later if scrape.age is None else elapsed is not None and scrape.age < elapsed
        known.append(_Process(scrape.start))
        return known[-1], elapsed is not None and not is_new

    def _counters(self, backend: str) -> Counters:
        counts = {what: total for (key, what), total in self._totals.items() if key == backend}
        statuses = {what: count for what, count in counts.items() if _STATUS.fullmatch(what)}
        all_503 = counts.get("503", 0)
        overloads = min(all_503, counts.get(OVERLOAD, 0))
        failed_503, unexplained = self._failures_of_503(backend, all_503 - overloads)
        gave_up, lost = self._failures_of_uploads(backend, counts)
        unfinished = counts.get(GAVE_UP, 0) - gave_up + counts.get("502", 0) - lost
        other = sum(count for what, count in statuses.items() if what[0] == "5" and what not in {"502", "503", "504"})
        return Counters(
            requests=sum(statuses.values()) - unexplained + counts.get(GAVE_UP, 0) - unfinished,
            failures={
                "5xx": other + failed_503,
                "connection": lost,
                "timeout": counts.get("504", 0),
                "gave_up": gave_up,
            },
            unfinished=unfinished,
            overloads=overloads,
            retries=counts.get(RETRY, 0),
            latency=_latency(counts),
        )

    def _failures_of_uploads(self, backend: str, counts: Mapping[str, int]) -> tuple[int, int]:
        """Clients that gave up and connections that were lost, without those of uploads that no replica had whole.

        The probe sends everything it begins; what it could not send was not taken. A failure once shown stays shown.
        """
        gave_up, lost = counts.get(GAVE_UP, 0), counts.get("502", 0)
        shown_gave_up, shown_lost = self._failed_uploads.get(backend, (0, 0))
        if backend.endswith(f"/{TrafficSource.USER}"):
            late = counts.get(UNFINISHED_LATE, 0)
            of_gave_up = min(gave_up, late)
            lost -= min(lost, late - of_gave_up + counts.get(UNFINISHED, 0))
            gave_up -= of_gave_up
        shown = self._failed_uploads[backend] = max(shown_gave_up, gave_up), max(shown_lost, lost)
        return shown

    def _failures_of_503(self, backend: str, without_overload: int) -> tuple[int, int]:
        """503 answers that are failures, and those that a replica may still explain as its overload.

        A replica that does not answer gets until the poll after; a failure once shown stays shown.
        """
        shown = self._failed_503.get(backend, 0)
        colour = Colour(backend.partition("/")[0])
        if colour not in self._silent - self._silent_before:
            shown = max(shown, without_overload)
        self._failed_503[backend] = shown
        return shown, max(0, without_overload - shown)


def _latency(counts: Mapping[str, int]) -> dict[str, int]:
    edges = {what.removeprefix(EDGE): count for what, count in counts.items() if what.startswith(EDGE)}
    return dict(sorted(edges.items(), key=lambda item: float(item[0])))


def _same(start: float, other: float) -> bool:
    return abs(start - other) <= _SAME_START_SECONDS
