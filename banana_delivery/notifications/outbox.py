"""What notification channels have not taken yet, in a file that outlives whoever could not send it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import ValidationError

from banana_delivery.files import lock, write_atomically
from banana_delivery.notifications.messages import Notice
from banana_delivery.policy.model import StoredModel, StoredRecord

LOG = logging.getLogger(__name__)
MOST_NOTICES = 20
"""Of what no channel takes for long, only the newest is worth reading."""
FIRST_WAIT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 3600.0
LOCK_SECONDS = 30.0
"""How long a change of the file waits for another one; each reads and writes a small file."""


class Owed(StoredModel):
    """A notice that somebody still waits for.

    Attributes:
        notice: what to send.
        channels: names of the channels that have not taken it.
    """

    notice: Notice
    channels: frozenset[str]


class Waiting(StoredRecord):
    """Everything that is owed.

    Attributes:
        owed: oldest first.
        failures: how many times in a row something was left after trying.
        tried_at: when that was last, seconds since the epoch.
    """

    owed: tuple[Owed, ...] = ()
    failures: int = 0
    tried_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Whether trying again is worth it: the longer nothing was taken, the less often it is tried."""
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(self.failures, 10), LONGEST_WAIT_SECONDS)
        return bool(self.owed) and now - self.tried_at >= wait


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
            others = [one for one in before.owed if one.notice.key != notice.key]
            owed = (*others, Owed(notice=notice, channels=frozenset(channels)))
            self._write(before.replace(owed=owed[-MOST_NOTICES:]))

    def taken(self, notice: Notice, channel: str) -> None:
        """A channel took a notice, and must not get it again."""
        with self._changing():
            before = self.waiting()
            left = [
                one.replace(channels=one.channels - {channel}) if one.notice.key == notice.key else one
                for one in before.owed
            ]
            self._write(before.replace(owed=tuple(one for one in left if one.channels)))

    def tried(self, now: float, channels: Collection[str]) -> None:
        """Everything was tried at these channels; others exist no more, and are owed nothing."""
        with self._changing():
            before = self.waiting()
            left = [one.replace(channels=one.channels & frozenset(channels)) for one in before.owed]
            owed = tuple(one for one in left if one.channels)
            self._write(Waiting(owed=owed, failures=before.failures + 1 if owed else 0, tried_at=now))

    def _changing(self) -> AbstractContextManager[None]:
        return lock(Path(f"{self._file}.lock"), LOCK_SECONDS, "The list of notices to send")

    def _write(self, waiting: Waiting) -> None:
        write_atomically(self._file, waiting.model_dump_json())
