"""Spans of time as other systems write them: the Gateway API's durations, and HTTP's ``Retry-After``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime

_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_MOST = 99_999
"""The Gateway API takes up to four numbers with a unit, each of five digits at most."""


def gateway_duration(seconds: float) -> str:
    """A span as the Gateway API takes it, ``([0-9]{1,5}(h|m|s|ms)){1,4}``, and exactly as long.

    Raises:
        ValueError: if it cannot be written so.
    """
    exact = Decimal(str(seconds)) * 1000
    if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value():
        raise ValueError("must be a number of seconds from 0 with at most three decimals")
    left = int(exact)
    if left <= _MOST:
        return f"{left}ms"
    parts = []
    for unit, length in _MILLISECONDS.items():
        number, left = divmod(left, length)
        if number > _MOST:
            raise ValueError(f"must be less than {_MOST + 1} hours")
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def retry_after(headers: Mapping[str, str]) -> float:
    """How many seconds a server asks to be left alone; 0 if it does not say, or not so that it can be understood.

    A date is compared with the ``Date`` of the same answer, so that only the server's own clock counts; without one it
    says nothing.

    Args:
        headers: the answer's, whose names may be in any case.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    then, now = _moment(said), _moment(headers.get("Date", ""))
    return max((then - now).total_seconds(), 0.0) if then and now else 0.0


def _moment(text: str) -> datetime | None:
    """A date of HTTP's; None if it is not one."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None
