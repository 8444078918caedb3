"""One reader for all who watch: however many they are, records are read as often as for one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from banana_delivery.delivery.live.watcher import AROUND_SECONDS, RECORD_SECONDS
from banana_delivery.errors import RefusedError, redacted
from banana_delivery.policy.model import Environment, RolloutRecord
from banana_delivery.policy.rollout.live import LiveStep, live_of
from banana_delivery.quoting import one_line
from banana_delivery.reports.overview import Json, Overview

LOG = logging.getLogger(__name__)
MOST_WATCHERS = 200
MOST_POINTS = 600
"""Of a curve; when there are more, every second one of the old ones goes."""
QUIET_SECONDS = 5.0
"""At least so often everybody hears something, so that a page knows that it is connected."""
MOVES_BY_ITSELF = ("at", "age", "seconds_left")


@dataclass
class Curves:
    """How the evidence of one delivery went, as shares of what decides.

    Attributes:
        owner: whose delivery.
        points: each with its moment and a share for every kind of evidence.
    """

    owner: str = ""
    points: list[dict[str, float]] = field(default_factory=list)

    def add(self, records: Sequence[RolloutRecord]) -> None:
        """Take up what is new in production; another delivery begins anew."""
        for record in records:
            step = live_of(record) if record.environment is Environment.PRODUCTION else None
            if step is None or record.owner is None:
                continue
            if record.owner != self.owner:
                self.owner, self.points = record.owner, []
            if not self.points or self.points[-1]["at"] < step.at:
                self.points.append(_point(step))
            if len(self.points) > MOST_POINTS:
                self.points = [*self.points[: MOST_POINTS // 2 : 2], *self.points[MOST_POINTS // 2 :]]


def _point(step: LiveStep) -> dict[str, float]:
    against = {str(one.limit): round(one.share, 3) for one in step.against if not one.shared}
    return {"at": step.at, "weight": step.weight, "healthy": round(step.healthy / step.healthy_needed, 3), **against}


class Feed:
    """Looks for as long as somebody watches, and gives everybody what is new.

    Args:
        around: looks at everything, which may take its time.
        again: looks at what moves from one second to the next.
        more: what else a page is told.
        pause: seconds between two looks.
    """

    def __init__(
        self,
        around: Callable[[], Overview],
        again: Callable[[Overview], Overview],
        more: Callable[[Overview], Json],
        *,
        pause: float = RECORD_SECONDS,
    ) -> None:
        self._around, self._again, self._more, self._pause = around, again, more, pause
        self._watchers: set[asyncio.Queue[str]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._seen: Overview | None = None
        self._trouble = ""
        self._last, self._told_at, self._curves = "", 0.0, Curves()

    async def watch(self) -> AsyncIterator[str]:
        """What is, and then whatever is new, as server-sent events.

        Raises:
            RefusedError: if so many watch already that one more would slow down the others.
        """
        if len(self._watchers) >= MOST_WATCHERS:
            raise RefusedError(503, "Too many watch already; `banana-delivery status --watch` shows the same.")
        mine: asyncio.Queue[str] = asyncio.Queue(1)
        self._watchers.add(mine)
        if self._reader is None or self._reader.done():
            self._seen, self._last = None, ""  # What was seen for those who watched before may be of yesterday.
            self._reader = asyncio.create_task(self._read())
        elif self._last and asyncio.get_running_loop().time() - self._told_at < 2 * QUIET_SECONDS:
            mine.put_nowait(self._last)
        try:
            while True:
                yield f"data: {await mine.get()}\n\n"
        finally:
            self._watchers.discard(mine)

    async def now(self) -> str:
        """What is, once."""
        seen = await asyncio.to_thread(self._around)
        return json.dumps(self._told(seen))

    async def _read(self) -> None:
        around: asyncio.Task[None] | None = None
        loop, before = asyncio.get_running_loop(), ""
        await self._look_around()
        looked = loop.time()
        while self._watchers:
            if self._seen is None or (loop.time() - looked > AROUND_SECONDS and (around is None or around.done())):
                looked, around = loop.time(), asyncio.create_task(self._look_around())
            if self._seen is None:
                await around  # type: ignore[misc]  # just made
            if self._seen is not None and (seen := await self._looked_again(self._seen)):
                self._curves.add(seen.records)
                told = {**self._told(seen), "trouble": self._trouble}
                still = json.dumps(_at_rest(told))
                if still != before or loop.time() - self._told_at > QUIET_SECONDS:
                    before, self._told_at = still, loop.time()
                    self._tell(json.dumps(told))
            await asyncio.sleep(self._pause)

    async def _look_around(self) -> None:
        try:
            self._seen = await asyncio.to_thread(self._around)
            self._trouble = ""
        except Exception as error:  # noqa: BLE001 - whatever is away, people see the rest
            LOG.warning("Not all could be looked at: %s", error)
            why = one_line(redacted(str(error) or type(error).__name__))
            self._trouble = f"What waits, is frozen, was decided and ended is shown as it was seen last: {why}"

    async def _looked_again(self, seen: Overview) -> Overview | None:
        try:
            return await asyncio.to_thread(self._again, seen)
        except Exception as error:  # noqa: BLE001 - whoever watches would wait for ever, and be told that he sees what is
            LOG.warning("What moves could not be looked at: %s", error)
            return None

    def _told(self, seen: Overview) -> Json:
        return {**seen.json(), **self._more(seen), "curves": self._curves.points}

    def _tell(self, text: str) -> None:
        """Give everybody the newest; who is too slow for the one before never gets it."""
        self._last = text
        for one in self._watchers:
            if one.full():
                one.get_nowait()
            one.put_nowait(text)


def _at_rest(value: object) -> object:
    """The same without what changes though nothing happens."""
    if isinstance(value, dict):
        return {key: _at_rest(one) for key, one in value.items() if key not in MOVES_BY_ITSELF and key != "sensors"}
    return [_at_rest(one) for one in value] if isinstance(value, list) else value
