"""What this observer has seen before, in small files: a command, a sensor's tick and a run have no memory of their own.

Several processes may share the files, even on several machines. They write over each other's looks, which loses time
and never adds any: patience lasts longer then.
"""

from __future__ import annotations

import errno
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from banana_delivery.files import write_atomically
from banana_delivery.policy.model import RolloutRecord
from banana_delivery.policy.sightings import Sighting, look
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock, boot_id

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sightings:
    """The memory of one observer.

    Attributes:
        folder: made when something is first seen.
        clock: of this machine.
        boot: which start of this machine the clock counts from.
    """

    folder: Path
    clock: Clock
    boot: str = field(default_factory=boot_id)

    def remembered(self, name: str, sign: str) -> float:
        """For how long something was observed to look so, without looking again; 0 if it was not, or not so."""
        kept = self._kept(self._file(name))
        return kept.lasted if kept and kept.sign == sign else 0.0

    def lasted(self, name: str, sign: str) -> float:
        """Look at something once more.

        Args:
            name: what is looked at; a file is called so.
            sign: what it looks like now; two states that differ never look the same.

        Returns:
            Seconds for which it was observed to look so; 0 where nothing can be kept.
        """
        file = self._file(name)
        seen = look(self._kept(file), sign, self.boot, self.clock.monotonic())
        try:
            write_atomically(file, seen.model_dump_json())
        except OSError as error:
            # The pages on a cluster see what others keep, and may only read it.
            if error.errno != errno.EROFS:
                LOG.warning("What was seen of %s cannot be kept in %s: %s", name, file, error)
        return seen.lasted

    def _file(self, name: str) -> Path:
        return self.folder / f"{re.sub(r'[^a-z0-9-]', '-', name.lower())}.json"

    def _kept(self, file: Path) -> Sighting | None:
        try:
            return Sighting.read_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            LOG.warning("What was seen before cannot be read from %s (%s); the looking begins anew.", file, error)
            return None


def sightings(settings: Settings, clock: Clock) -> Sightings:
    """The memory that all processes of one home share."""
    return Sightings(settings.home / "sightings", clock)


@dataclass(frozen=True)
class OwnerWatch:
    """Finds owners that fell silent.

    Attributes:
        target: where the environments are.
        sightings: what was seen of them before.
        patience_seconds: an owner that was seen to show no life for longer is dead.
        heartbeat_seconds: how often a living one shows that it lives.
    """

    target: ReleaseTarget
    sightings: Sightings
    patience_seconds: float
    heartbeat_seconds: float

    def is_silent(self, record: RolloutRecord) -> bool:
        """Whether the owner is dead: this machine's own clock saw one and the same sign of life for too long.

        Raises:
            TargetError: if the target does not answer.
        """
        seen = self.sightings.lasted(f"owner-of-{record.environment}", record.sign_of_life)
        return seen > self.patience_seconds and self._is_still_silent(record)

    def _is_still_silent(self, record: RolloutRecord) -> bool:
        """Whether an owner shows no life although it can: while a target is away, all of its owners are silent."""
        self.sightings.clock.sleep(2 * self.heartbeat_seconds)
        return self.target.record(record.environment).sign_of_life == record.sign_of_life


def owner_watch(target: ReleaseTarget, settings: Settings, clock: Clock) -> OwnerWatch:
    """The watch as the settings want it."""
    return OwnerWatch(target, sightings(settings, clock), settings.stale_after_seconds, settings.heartbeat_seconds)
