"""The rollout record as two files: read at any time, changed only under their lock, and never seen half-written.

The second one lies in a folder of its own and is written after the first: what is believed when they differ is
``banana_delivery.targets.restoring``'s to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from banana_delivery.errors import TargetError
from banana_delivery.files import lock, write_atomically
from banana_delivery.policy.model import Environment, RolloutRecord
from banana_delivery.targets.base import RecordDamage
from banana_delivery.targets.restoring import Found, Settled, Traces, above, kept, next_revision, parsed, settled

_log = logging.getLogger(__name__)

LOCK_SECONDS = 30.0
"""How long a change waits for another one to end; each takes seconds at most."""


class RecordFile:
    """One environment's record.

    Args:
        path: the JSON file; its lock lies beside it.
        copy: the second one.
        environment: whose record it is.
        traces: what else is left of earlier claims.
    """

    def __init__(self, path: Path, copy: Path, environment: Environment, traces: Callable[[], Traces] = Traces) -> None:
        self._path = path
        self._copy = copy
        self._environment = environment
        self._traces = traces
        self._revision = 0
        """Of the record as it lies there; known to the holder of the lock alone."""

    def read(self) -> RolloutRecord:
        """The record; a blank one if the environment was never used.

        Raises:
            LostRecordError: if neither file can be believed.
        """
        return self._settled().record.told

    def damage(self) -> RecordDamage | None:
        """What is wrong with the files although the record is known.

        Raises:
            LostRecordError: if neither file can be believed.
        """
        return self._settled().damage

    def newest(self) -> RolloutRecord | None:
        """The newest record that can be read, however old."""
        copy, first, _ = self._found()
        newest = first if first.order >= copy.order else copy
        return newest.record.told if newest.record else None

    def write(self, record: RolloutRecord) -> RolloutRecord:
        """Store the record durably, then its copy; only the holder of ``locked`` may.

        Raises:
            TargetError: if it cannot be written; the old record stays.
        """
        text = kept(record, self._revision + 1).model_dump_json(indent=2)
        try:
            write_atomically(self._path, text)
        except OSError as error:
            raise TargetError(
                f"The record of {self._environment} cannot be written to {self._path}: {error.strerror}; make room or "
                f"correct the folder's permissions."
            ) from error
        self._revision += 1
        try:
            write_atomically(self._copy, text)
        except OSError as error:
            # The record holds; the next write brings the copy along.
            _log.warning(
                "The copy of the record of %s cannot be written to %s: %s", record.environment, self._copy, error
            )
        return record

    @contextmanager
    def locked(self) -> Iterator[RolloutRecord]:
        """Keep every other process and thread from changing the environment, and yield the record as it is now.

        Raises:
            TargetError: if another change does not end.
        """
        with self._lock():
            found = self._settled()
            self._revision = found.record.revision
            if found.damage and found.damage.restored:
                _log.warning("%s", found.damage.what)
            yield found.record.told

    @contextmanager
    def replacing(self, record: RolloutRecord) -> Iterator[RolloutRecord]:
        """The same for a rebuilt record, whatever lies there: yields it as it is to be claimed.

        Raises:
            TargetError: if another change does not end.
        """
        with self._lock():
            copy, first, traces = self._found()
            self._revision = next_revision(first, copy) - 1
            yield above(self._environment, record, first, copy, traces)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        path, what = self._path.with_suffix(".lock"), self._environment.capitalize()
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(path, LOCK_SECONDS, what, error=TargetError, pause=0.02, end_stopped=True))
            except OSError as error:
                raise TargetError(
                    f"The record of {self._environment} cannot be locked by {path}: {error.strerror or error}; make "
                    f"room or correct the folder's permissions."
                ) from error
            yield

    def _settled(self) -> Settled:
        copy, first, traces = self._found()
        return settled(self._environment, first, copy, traces)

    def _found(self) -> tuple[Found, Found, Traces]:
        """Copy, record, traces; the record is read last, because it is written first."""
        copy, traces = _lying(self._copy, "the copy"), self._traces()
        return copy, _lying(self._path, "the record"), traces


def _lying(path: Path, what: str) -> Found:
    where = f"{what} in {path}"
    try:
        return parsed(where, path.read_bytes())
    except FileNotFoundError:
        return Found(where)
    except OSError as error:
        return Found(where, fault=str(error.strerror))
