"""What the reconcile sensor saw last, kept as a file for the process that monitoring asks: the sensor may hang."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import Field, ValidationError

from banana_delivery.files import write_atomically
from banana_delivery.policy.model import Environment, Phase, StoredModel, StoredRecord
from banana_delivery.policy.scorecard.totals import Totals

LOG = logging.getLogger(__name__)


class EnvironmentState(StoredModel):
    """An environment as its record has it.

    Attributes:
        phase: where a delivery stands there.
        under_way: the version that is being released; empty at rest.
        serving: the version that has the traffic at rest; empty before the first release.
        digest: its image.
        candidate_share: what the version under way has of the users, 0 to 1.
    """

    phase: Phase
    under_way: str = ""
    serving: str = ""
    digest: str = ""
    candidate_share: float = 0.0


class Snapshot(StoredRecord):
    """All that is measured.

    Attributes:
        environments: those that answered.
        silent: names of those that did not.
        totals: of the audit trail.
        waiting: deliveries that have not begun.
    """

    environments: dict[Environment, EnvironmentState] = Field(default_factory=dict)
    silent: tuple[Environment, ...] = ()
    totals: Totals = Field(default_factory=Totals)
    waiting: int = 0


class SnapshotFile:
    """Where it is kept.

    Args:
        home: everything the pipeline keeps.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / "metrics" / "snapshot.json"

    def read(self) -> Snapshot | None:
        """The last one; None if there is none that can be read."""
        try:
            return Snapshot.read_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, snapshot: Snapshot) -> None:
        """Keep one; not being able to stops nobody, and is logged."""
        try:
            write_atomically(self._file, snapshot.model_dump_json())
        except OSError as error:
            LOG.warning("What monitoring is told could not be written down: %s", error)
