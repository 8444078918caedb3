"""Attempts that the model registry was not told of, on disk, so that a later look can make it good."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from banana_delivery.policy.releases import AttemptRecord
from banana_delivery.targets.files import write_atomically

LOG = logging.getLogger(__name__)


class Untold:
    """One file a version, since only the latest attempt at it is worth telling.

    Args:
        directory: made when something is first remembered.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def remember(self, attempt: AttemptRecord) -> None:
        """Keep an attempt, as the last in turn, unless a later one at its version is kept."""
        known = self._read(self._file(attempt.version))
        if known is None or known.at <= attempt.at:
            write_atomically(self._file(attempt.version), attempt.model_dump_json())

    def forget(self, attempt: AttemptRecord) -> None:
        """The registry knows of this attempt, or of a later one."""
        file = self._file(attempt.version)
        known = self._read(file)
        if known and known.at <= attempt.at:
            file.unlink(missing_ok=True)

    def attempts(self) -> list[AttemptRecord]:
        """Those that were tried longest ago first."""
        tried = [(file.stat().st_mtime, file) for file in self._directory.glob("*.json")]
        kept = (self._read(file) for _, file in sorted(tried))
        return [attempt for attempt in kept if attempt]

    def _file(self, version: str) -> Path:
        return self._directory / f"{quote(version, safe='')}.json"

    def _read(self, file: Path) -> AttemptRecord | None:
        try:
            return AttemptRecord.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            LOG.warning("%s is no attempt and is removed; the next delivery corrects the registry.", file)
            file.unlink(missing_ok=True)
            return None
