"""The rollout record as a file: read at any time, changed only under its lock, and never seen half-written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import ValidationError

from banana_delivery.errors import TargetError
from banana_delivery.files import lock, write_atomically
from banana_delivery.policy.model import Environment, RolloutRecord

LOCK_SECONDS = 30.0
"""How long a change waits for another one to end; each takes seconds at most."""


class RecordFile:
    """One environment's record.

    Args:
        path: the JSON file; its lock lies beside it.
        environment: whose record it is.
    """

    def __init__(self, path: Path, environment: Environment) -> None:
        self._path = path
        self._environment = environment

    def read(self) -> RolloutRecord:
        """The record; a blank one if the environment was never used.

        Raises:
            TargetError: if the file cannot be read.
        """
        try:
            return RolloutRecord.read_json(self._path.read_text())
        except FileNotFoundError:
            return RolloutRecord(environment=self._environment)
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise TargetError(
                f"The record of {self._environment} in {self._path} cannot be read ({type(error).__name__}); "
                f"restore the file from a backup, or move it away to begin with an environment that knows nothing."
            ) from error

    def write(self, record: RolloutRecord) -> RolloutRecord:
        """Store the record durably; only the holder of ``locked`` may.

        Raises:
            TargetError: if it cannot be written; the old record stays.
        """
        try:
            write_atomically(self._path, record.model_dump_json(indent=2))
        except OSError as error:
            raise TargetError(
                f"The record of {self._environment} cannot be written to {self._path}: {error.strerror}; make room or "
                f"correct the folder's permissions."
            ) from error
        return record

    @contextmanager
    def locked(self) -> Iterator[RolloutRecord]:
        """Keep every other process and thread from changing the environment, and yield the record as it is now.

        Raises:
            TargetError: if another change does not end.
        """
        path, what = self._path.with_suffix(".lock"), self._environment.capitalize()
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(path, LOCK_SECONDS, what, error=TargetError, pause=0.02, end_stopped=True))
            except OSError as error:
                raise TargetError(
                    f"The record of {self._environment} cannot be locked by {path}: {error.strerror or error}; make "
                    f"room or correct the folder's permissions."
                ) from error
            yield self.read()
