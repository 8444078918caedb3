"""What notification channels have not taken yet, in a file that outlives whoever could not send it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import ValidationError

from banana_delivery.files import lock, write_atomically
from banana_delivery.notifications.messages import Notice
from banana_delivery.policy.model import StoredModel, StoredRecord
from banana_delivery.policy.outcomes import Urgency

LOG = logging.getLogger(__name__)
MOST_NOTICES = 20
"""Of what no channel takes for long, only the newest is worth reading."""
FIRST_WAIT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 3600.0
LOCK_SECONDS = 30.0
"""How long a change of the file waits for another one; each reads and writes a small file."""
MOST_REFUSALS = 80
"""Times that a channel is asked again that answers with an error or does not let us connect: for about three days."""
REPEATS: dict[Urgency, tuple[float, ...]] = {
    Urgency.URGENT: (300.0, 3600.0),
    Urgency.ASKS: (3600.0,),
    Urgency.NORMAL: (),
    Urgency.QUIET: (),
}
"""Seconds after which a notice is sent once more that was sent and never answered, and so has probably arrived: the
rarer the less it matters, with the word "Again" before it, and after the last one never."""
ANSWERED_BY_SECONDS = 120.0
"""After that nothing waits for an answer any more."""
MOST_REMEMBERED = 200


class Asked(StoredModel):
    """How a channel has treated a notice so far.

    Attributes:
        refused: times that it answered with an error or could not be connected to.
        unanswered: times that the notice was sent, and whether it arrived is not known.
        at: when it was tried last, seconds by the monotonic clock of whoever tried.
    """

    refused: int = 0
    unanswered: int = 0
    at: float = 0.0

    def is_over(self, urgency: Urgency) -> bool:
        """Whether the channel is not asked any more."""
        return self.unanswered > len(REPEATS[urgency]) or self.refused >= MOST_REFUSALS

    def is_due(self, urgency: Urgency, now: float) -> bool:
        """Whether the channel is to be asked now; a clock that began anew makes nothing wait for longer."""
        if self.is_over(urgency):
            return False
        if self.unanswered:
            wait = REPEATS[urgency][self.unanswered - 1]
        elif self.refused:
            wait = min(FIRST_WAIT_SECONDS * 2 ** min(self.refused, 10), LONGEST_WAIT_SECONDS)
        else:
            return True
        return not 0 <= now - self.at < wait


class Owed(StoredModel):
    """A notice that somebody still waits for.

    Attributes:
        notice: what to send.
        channels: names of the channels that have not taken it.
        asked: what these have done with it so far, by name; nothing for those that were not tried.
    """

    notice: Notice
    channels: frozenset[str]
    asked: Mapping[str, Asked] = {}

    def by(self, channel: str) -> Asked:
        """What one channel has done with it."""
        return self.asked.get(channel, Asked())

    def is_due(self, channel: str, now: float) -> bool:
        """Whether a channel is to be asked now."""
        return channel in self.channels and self.by(channel).is_due(self.notice.urgency, now)

    def may_be_sent(self, channel: str, now: float) -> bool:
        """Whether a channel may be asked when others are: not before its turn if the notice may have arrived."""
        asked = self.by(channel)
        over = asked.is_over(self.notice.urgency)
        return channel in self.channels and not over and (not asked.unanswered or self.is_due(channel, now))


class Waiting(StoredRecord):
    """Everything that is owed.

    Attributes:
        owed: oldest first.
        told: keys of the latest notices that nobody waits for any more; they are never owed again.
        failures: how an earlier version counted.
        tried_at: the same.
    """

    owed: tuple[Owed, ...] = ()
    told: tuple[str, ...] = ()
    failures: int = 0
    tried_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Whether trying again is worth it: the longer nothing was taken, the less often it is tried."""
        return any(one.is_due(channel, now) for one in self.owed for channel in one.channels)


class Outbox:
    """The file.

    Args:
        file: made when something is first owed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def waiting(self) -> Waiting:
        """What is owed now."""
        try:
            return Waiting.read_json(self._file.read_bytes())
        except FileNotFoundError:
            return Waiting()
        except ValidationError:
            LOG.warning("%s cannot be read; what it held is in the notices beside it, but is not sent.", self._file)
            return Waiting()

    def add(self, notice: Notice, channels: Collection[str]) -> None:
        """Owe a notice to channels; adding it again changes nothing.

        Raises:
            FileLockedError: if another process does not let go of the file.
        """
        if not channels:
            return
        with self._changing():
            before = self.waiting()
            if notice.key in before.told or any(one.notice.key == notice.key for one in before.owed):
                return
            owed = (*before.owed, Owed(notice=notice, channels=frozenset(channels)))
            self._write(before.replace(owed=owed[-MOST_NOTICES:]))

    def asking(self, notice: Notice, channel: str, now: float) -> None:
        """A notice is about to be sent. Until something else is written down, it is one that was never answered."""
        self._change(notice, channel, lambda asked: asked.replace(unanswered=asked.unanswered + 1, at=now))

    def refused(self, notice: Notice, channel: str, before: Asked, now: float, *, counts: bool) -> None:
        """A channel did not take it, and said so.

        Args:
            notice: what was sent.
            channel: where to.
            before: how things stood before.
            now: seconds by the notifier's clock.
            counts: whether it was its turn; trying it early, because others were tried, makes it no rarer.
        """
        after = before.replace(refused=before.refused + 1, at=now) if counts else before
        self._change(notice, channel, lambda _: after)

    def taken(self, notice: Notice, channel: str) -> None:
        """A channel took a notice, and must not get it again."""
        with self._changing():
            before = self.waiting()
            left = [
                one.replace(channels=one.channels - {channel}) if one.notice.key == notice.key else one
                for one in before.owed
            ]
            self._write(_settled(before, left))

    def prune(self, channels: Collection[str], now: float) -> list[tuple[Notice, str]]:
        """Forget channels that exist no more, and what is not tried any more; returns the latter.

        What was sent a moment ago may still be answered.
        """
        with self._changing():
            before = self.waiting()
            given_up = [
                (one.notice, name)
                for one in before.owed
                for name in sorted(one.channels & frozenset(channels))
                if one.by(name).is_over(one.notice.urgency) and not 0 <= now - one.by(name).at < ANSWERED_BY_SECONDS
            ]
            left = []
            for one in before.owed:
                over = {name for notice, name in given_up if notice.key == one.notice.key}
                left.append(one.replace(channels=(one.channels & frozenset(channels)) - over))
            after = _settled(before, left)
            if after != before:
                self._write(after)
            return given_up

    def _change(self, notice: Notice, channel: str, change: Callable[[Asked], Asked]) -> None:
        with self._changing():
            before = self.waiting()
            changed = [
                one.replace(asked={**one.asked, channel: change(one.by(channel))})
                if one.notice.key == notice.key
                else one
                for one in before.owed
            ]
            self._write(before.replace(owed=tuple(changed)))

    def _changing(self) -> AbstractContextManager[None]:
        return lock(Path(f"{self._file}.lock"), LOCK_SECONDS, "The list of notices to send", end_stopped=True)

    def _write(self, waiting: Waiting) -> None:
        write_atomically(self._file, waiting.model_dump_json())


def _settled(before: Waiting, left: Iterable[Owed]) -> Waiting:
    """What remains; a notice that nobody waits for any more is remembered by its key."""
    kept = list(left)
    told = (*before.told, *(one.notice.key for one in kept if not one.channels))
    return before.replace(owed=tuple(one for one in kept if one.channels), told=told[-MOST_REMEMBERED:])
