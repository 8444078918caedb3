"""The scorecard as the page shows it: computed when the audit trail has something new, and once for all who watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.delivery.upkeep.scores import DAYS, score
from banana_delivery.errors import EvidenceError
from banana_delivery.policy.scorecard.card import DAY
from banana_delivery.reports.overview import Json
from banana_delivery.reports.scorecard import scorecard_rows
from banana_delivery.runs.audit_log import AuditLog

FRESH_SECONDS = 300.0
"""So long one is shown while nothing is added: it is of ninety days."""


@dataclass
class Scores:
    """Reads the audit trail for it, which takes a moment, and keeps what it found.

    Attributes:
        log: the audit trail.
        now: seconds since the epoch.
        monotonic: seconds that only go forward.
    """

    log: AuditLog
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _kept: tuple[int, float, Json] | None = field(default=None, init=False)

    def told(self) -> Json:
        """What is to be shown."""
        try:
            self.log.location.evidence.accepted()
        except EvidenceError:
            # All lines would count for nothing, and it would look as if nothing had been delivered.
            return {"said": "It counts signed lines alone, and here nobody can tell which those are.", "rows": []}
        with self._lock:
            head, at = self.log.head(), self.monotonic()
            if self._kept is None or self._kept[0] != head or at - self._kept[1] > FRESH_SECONDS:
                until = self.now()
                self._kept = head, at, scorecard_rows(score(self.log, until - DAYS * DAY, until))
            return self._kept[2]
