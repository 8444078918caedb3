"""When nothing is to enter production: windows of a calendar, and what people said with ``freeze`` and ``unfreeze``.

A window is told by the clock on the wall of its time zone, so a weekend stays one when the clocks change. Whoever
stands at the gate looks at its own clock: a calendar is a matter of the time of day, and of no order between machines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import ConfigDict, Field, model_validator

from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import Model
from banana_delivery.quoting import cited

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES, HOUR_MINUTES = 24 * 60, 60
DATED = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}"
WEEKLY = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [0-9]{2}:[0-9]{2}"
MOMENT = f"^({WEEKLY}|{DATED})$"
_SPAN = re.compile(r"\+?([0-9]+(?:\.[0-9]+)?)([mhd])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST_SECONDS = 366 * 86_400.0
LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp() - DAY_MINUTES * 60
"""Nothing is later: what stands for "for ever" is a date that every zone's calendar has."""


class FreezeWindow(Model):
    """A time in which nothing enters production, every week or once.

    Attributes:
        from_: its first minute, `Fri 16:00` of every week or `2026-12-23 12:00`.
        until: the first minute after it, in the same form.
        zone: the time zone of both, such as Europe/Berlin.
        reason: why, for whoever has to wait.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    from_: Annotated[str, Field(alias="from", pattern=MOMENT, examples=["Fri 16:00", "2026-12-23 12:00"])]
    until: Annotated[str, Field(pattern=MOMENT, examples=["Mon 07:00", "2027-01-04 07:00"])]
    zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])]
    reason: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not _is_zone(self.zone):
            near = difflib.get_close_matches(self.zone, sorted(available_timezones()), n=1)
            instead = f"did you mean {near[0]}?" if near else "allowed are names such as Europe/Berlin or UTC"
            raise ValueError(f"{cited(self.zone)} is no time zone; {instead}")
        weekly = {_is_weekly(self.from_), _is_weekly(self.until)}
        if len(weekly) == 2:
            raise ValueError(f"A freeze window from {self.from_} until {self.until} is neither weekly nor dated")
        begin, end = _position(self.from_), _position(self.until)
        if begin == end or (weekly == {False} and end < begin):
            raise ValueError(f"The freeze window from {self.from_} until {self.until} has no time in it")
        return self

    def contains(self, now: float) -> bool:
        """Whether it is open.

        Args:
            now: seconds since the epoch.
        """
        zone = ZoneInfo(self.zone)
        if _is_weekly(self.from_):
            # Both as they are told to people: a time that the clocks show twice, or never, is one moment.
            begin, until = _of_week(self.from_, now, zone), _of_week(self.until, now, zone)
            return any(one <= now < next((end for end in until if end > one), now) for one in begin)
        return _at(self.from_, zone) <= now < _at(self.until, zone)

    def begins_after(self, now: float) -> float:
        """When it begins next, or when it began, if it is dated.

        Args:
            now: seconds since the epoch.
        """
        return self._next(self.from_, now)

    def ends_after(self, now: float) -> float:
        """When it ends next, or when it ended, if it is dated.

        Args:
            now: seconds since the epoch.
        """
        return self._next(self.until, now)

    def _next(self, moment: str, now: float) -> float:
        zone = ZoneInfo(self.zone)
        if not _is_weekly(moment):
            return _at(moment, zone)
        return next((at for at in _of_week(moment, now, zone) if at > now), LAST)

    @property
    def words(self) -> str:
        """As people are told."""
        why = f": {self.reason.rstrip('.')}" if self.reason else ""
        return f"{self.from_} to {self.until} {self.zone}{why}"


def frozen(*, by_setting: bool, said: FreezeRecord | None, windows: Sequence[FreezeWindow], now: float) -> str:
    """Why nothing may enter production now, as a clause; empty if it may.

    Args:
        by_setting: whether ``BANANA_FREEZE`` is set, which nobody overrides from elsewhere.
        said: what was said last with ``freeze`` or ``unfreeze``.
        windows: of the policy's calendar.
        now: seconds since the epoch.
    """
    if by_setting:
        return "BANANA_FREEZE is set"
    holds = said is not None and (said.until is None or now < said.until)
    if said and holds and said.frozen:
        return f"{said.by}{until_words(said.until)}: {said.reason.rstrip('.')}"
    if said and holds and said.until is not None:
        return ""  # Until then the calendar is lifted as well.
    return next((window.words for window in windows if window.contains(now)), "")


def outlasts(before: FreezeRecord, said: FreezeRecord) -> bool:
    """Whether a freeze is in force that a new one would end before its time."""
    if not (before.frozen and said.frozen) or said.until is None:
        return False
    return before.until is None or (said.at < before.until and said.until < before.until)


def until_words(until: float | None, zone: str = "") -> str:
    """Until when, where there is an end; by the wall of a zone, or of this machine."""
    return (
        f" until {datetime.fromtimestamp(until, _zone(zone)).astimezone(_zone(zone)):%Y-%m-%d %H:%M %Z}"
        if until
        else ""
    )


def moment(typed: str, now: float, zone: str = "") -> float:
    """What somebody typed as the end of a freeze: ``90m``, ``4h``, ``2d``, or a date and a time on the wall.

    Args:
        typed: as it was typed; a date may name its own offset from UTC.
        now: seconds since the epoch.
        zone: of the wall of whoever typed it, such as Europe/Berlin; empty for this machine's.

    Returns:
        Seconds since the epoch.

    Raises:
        ValueError: if it is none of these, has passed, or is more than a year away, or if there is no such zone.
    """
    span, place = _SPAN.fullmatch(typed.strip()), _zone(zone)
    try:
        until = now + float(span[1]) * _SECONDS[span[2]] if span else _on_wall(typed.strip(), place)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{cited(typed)} is no end of a freeze; allowed are 90m, 4h, 2d, or 2026-12-01 08:00."
        ) from None
    if not now < until <= now + LONGEST_SECONDS:
        raise ValueError(f"{cited(typed)} is no end of a freeze: it has to lie ahead, within a year.")
    return until


def _zone(name: str) -> ZoneInfo | None:
    """A time zone; None for this machine's.

    Raises:
        ValueError: if there is none of this name here.
    """
    if name and not _is_zone(name):
        raise ValueError(f"{cited(name)} is no time zone here; write the time as 4h, or with its offset: +02:00.")
    return ZoneInfo(name) if name else None


def _on_wall(typed: str, zone: ZoneInfo | None) -> float:
    """A date and time; where it does not name its offset itself, by the wall of a zone."""
    at = datetime.fromisoformat(typed)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()


def _is_zone(name: str) -> bool:
    """Whether there is a time zone of this name; the list of all of them takes a walk through a thousand files."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return False
    return True


def _is_weekly(moment: str) -> bool:
    return moment[:3] in DAYS


def _position(moment: str) -> float:
    """Minutes from the beginning of the week, or seconds on a clock of no zone, to compare two moments of one kind.

    Raises:
        ValueError: if there is no such time.
    """
    if not _is_weekly(moment):
        try:
            return (datetime.fromisoformat(moment) - datetime(1970, 1, 1)) / timedelta(seconds=1)
        except ValueError:
            raise ValueError(f"{moment} is no date and time") from None
    day, hour, minute = moment[:3], int(moment[4:6]), int(moment[7:9])
    if hour > 23 or minute > 59:
        raise ValueError(f"{moment} is no time of a day, 00:00 to 23:59")
    return float(DAYS.index(day) * DAY_MINUTES + hour * HOUR_MINUTES + minute)


def _of_week(moment: str, now: float, zone: ZoneInfo) -> list[float]:
    """When a moment of the week is, from a week before another moment's to two weeks after it.

    As in RFC 5545, one that the clocks show twice is the first of the two, and one that they leave out is as long after
    the midnight before as on other days.
    """
    local = datetime.fromtimestamp(min(now, LAST - 21 * DAY_MINUTES * 60), zone)
    monday = datetime(local.year, local.month, local.day) - timedelta(days=local.weekday())
    minutes = [_position(moment) + week * 7 * DAY_MINUTES for week in (-1, 0, 1, 2)]
    return [(monday + timedelta(minutes=one)).replace(tzinfo=zone).timestamp() for one in minutes]


def _at(moment: str, zone: ZoneInfo) -> float:
    return min(datetime.fromisoformat(moment).replace(tzinfo=zone).timestamp(), LAST)
