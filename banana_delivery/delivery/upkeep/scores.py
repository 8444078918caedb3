"""The scorecard of a pipeline: read from its audit trail, and kept as a page in its home."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from banana_delivery.errors import BadSettingsError
from banana_delivery.files import write_atomically
from banana_delivery.names import SCORECARD_PAGE
from banana_delivery.policy.scorecard.card import DAY, Scorecard, scorecard
from banana_delivery.quoting import cited
from banana_delivery.reports.scorecard import scorecard_page
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import Settings

DAYS = 90
"""How far back it looks unless somebody says otherwise: a quarter has deliveries enough to tell from."""
MARGIN_SECONDS = DAY
"""Lines follow each other in the order in which they were written, and not exactly by their clocks."""


def score(log: AuditLog, since: float, until: float) -> Scorecard:
    """The scorecard of what ended between two moments, seconds since the epoch."""
    attempts, left_out = log.since(since - MARGIN_SECONDS)
    reports = takewhile(lambda one: one.verdict.at >= since - MARGIN_SECONDS, log.each_report())
    return scorecard(attempts, [*reports], since=since, until=until, left_out=left_out)


def keep_page(settings: Settings, card: Scorecard) -> Path:
    """Write the page about it, and return where it is.

    Raises:
        OSError: if it cannot be written.
    """
    file = settings.home / "reports" / SCORECARD_PAGE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, scorecard_page(card))
    return file


def begin(typed: str, now: float) -> float:
    """The moment from which to look: so many days (``30d``) or weeks (``6w``) before now.

    Raises:
        BadSettingsError: if it is neither.
    """
    found = re.fullmatch(r"([1-9]\d{0,3})([dw])", typed)
    if found is None:
        raise BadSettingsError(f"--since {cited(typed)} cannot be used; type days or weeks, such as 30d or 6w.")
    return now - int(found[1]) * {"d": 1, "w": 7}[found[2]] * DAY
