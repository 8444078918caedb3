"""Nothing enters production in a window of the calendar, after ``freeze``, or while the setting says so."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from banana_delivery.errors import BadSettingsError
from banana_delivery.policies.calendar import DAYS, LAST, FreezeWindow, frozen, moment, until_words
from banana_delivery.policies.reading import load_policy
from banana_delivery.policy.holds import FreezeRecord

WEEKEND = FreezeWindow(from_="Fri 16:00", until="Mon 07:00", zone="Europe/Berlin", reason="Nobody is here.")
YEAR = FreezeWindow(from_="2026-12-23 12:00", until="2027-01-04 07:00", zone="America/New_York")
HOUR = 3600.0


def at(said: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(said).replace(tzinfo=ZoneInfo(zone)).timestamp()


NOON = at("2026-11-25 12:00")
"""A Wednesday."""


def said(frozen: bool, until: float | None = None) -> FreezeRecord:
    return FreezeRecord(frozen=frozen, by="Ada", reason="A web shop opens.", at=NOON, until=until)


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-11-27 15:59", False),
        ("2026-11-27 16:00", True),
        ("2026-11-29 23:59", True),
        ("2026-11-30 06:59", True),
        ("2026-11-30 07:00", False),
        ("2026-03-27 16:00", True),  # The weekend on which the clocks go forward, and the one on which they go back.
        ("2026-03-30 06:59", True),
        ("2026-03-30 07:00", False),
        ("2026-10-23 15:59", False),
        ("2026-10-26 06:59", True),
        ("2026-10-26 07:00", False),
    ],
)
def test_a_weekly_window_goes_by_the_wall_of_its_zone(now: str, is_open: bool) -> None:
    assert WEEKEND.contains(at(now)) is is_open


def test_the_same_moment_is_another_time_elsewhere() -> None:
    there = WEEKEND.replace(zone="Asia/Tokyo")
    assert there.contains(at("2026-11-27 08:00")) and not WEEKEND.contains(at("2026-11-27 08:00"))


@pytest.mark.parametrize(
    ("now", "is_open"),
    [("2026-12-23 11:59", False), ("2026-12-23 12:00", True), ("2027-01-04 06:59", True), ("2027-01-04 07:00", False)],
)
def test_a_dated_window_is_open_once(now: str, is_open: bool) -> None:
    assert YEAR.contains(at(now, "America/New_York")) is is_open


@given(st.floats(min_value=NOON, max_value=NOON + 400 * 24 * HOUR), st.sampled_from(DAYS), st.sampled_from(DAYS))
def test_a_week_is_frozen_by_a_window_or_by_the_one_that_begins_where_it_ends(now: float, one: str, two: str) -> None:
    if one == two:
        return
    first = FreezeWindow(from_=f"{one} 08:30", until=f"{two} 17:15", zone="Europe/Berlin")
    rest = FreezeWindow(from_=f"{two} 17:15", until=f"{one} 08:30", zone="Europe/Berlin")
    assert first.contains(now) is not rest.contains(now)


DOUBLED = [
    ("Sat 22:00", "Sun 02:30", "2026-10-24 22:00", 270),
    ("Sun 02:30", "Sun 05:00", "2026-10-25 02:30", 210),
    ("Sun 02:10", "Sun 02:40", "2026-10-25 02:10", 30),
    ("Sun 02:10", "Sun 03:10", "2026-10-25 02:10", 120),
    ("Sat 22:00", "Sun 02:30", "2026-03-28 22:00", 270),
    ("Sun 01:30", "Sun 03:10", "2026-03-29 01:30", 40),
]


@pytest.mark.parametrize(("begin", "until", "opens", "minutes"), DOUBLED)
def test_a_window_that_meets_a_change_of_the_clocks_opens_once_and_ends_when_it_says(
    begin: str, until: str, opens: str, minutes: int
) -> None:
    window, opened = FreezeWindow(from_=begin, until=until, zone="Europe/Berlin"), at(opens)
    around = range(-120, minutes + 120)
    assert [window.contains(opened + 60 * one) for one in around] == [0 <= one < minutes for one in around]
    assert window.begins_after(opened - 60) == opened
    assert window.ends_after(opened) == opened + 60 * minutes


@given(st.floats(min_value=NOON, max_value=NOON + 400 * 24 * HOUR), st.integers(0, 10_079), st.integers(0, 10_079))
def test_a_window_is_open_until_it_ends_and_not_before_it_begins(now: float, begin: int, until: int) -> None:
    def typed(minute: int) -> str:
        return f"{DAYS[minute // 1440]} {minute % 1440 // 60:02}:{minute % 60:02}"

    if begin == until:
        return
    window = FreezeWindow(from_=typed(begin), until=typed(until), zone="Europe/Berlin")
    ends, begins = window.ends_after(now), window.begins_after(now)
    assert window.contains(now) is (ends < begins)
    assert window.contains(min(ends, begins) - 1) is window.contains(now)
    assert window.contains(ends) is False


def test_a_weekly_window_has_an_end_at_the_end_of_time() -> None:
    for now in (LAST, LAST - 86_400 * 10):
        assert now <= WEEKEND.ends_after(now) <= LAST
        WEEKEND.contains(now)


def test_why_nothing_may_enter_is_told_with_who_and_until_when() -> None:
    friday = at("2026-11-27 18:00")

    def why(now: float = friday, *, by_setting: bool = False, last: FreezeRecord | None = None) -> str:
        return frozen(by_setting=by_setting, said=last, windows=[YEAR, WEEKEND], now=now)

    assert why(NOON) == ""
    assert why() == "Fri 16:00 to Mon 07:00 Europe/Berlin: Nobody is here"
    assert why(at("2026-12-25 12:00")).startswith("2026-12-23 12:00 to 2027-01-04 07:00 America/New_York")
    assert why(NOON, by_setting=True, last=said(False, friday)) == "BANANA_FREEZE is set"
    assert why(NOON, last=said(True)) == "Ada: A web shop opens"
    assert why(NOON, last=said(True, NOON + HOUR)).startswith("Ada until 2026-11-25 ")
    assert why(NOON + HOUR, last=said(True, NOON + HOUR)) == ""
    assert why(last=said(False)) == why(), "the calendar counts again"
    assert why(last=said(False, friday + HOUR)) == "", "the calendar is lifted until then"
    assert why(friday + HOUR, last=said(False, friday + HOUR)) == why()


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("{from: Fri 16:00, until: Mon 07:00}", "freeze[0].zone is missing; allowed is text"),
        ("{from: Fri 16:00, until: 2026-12-01 07:00, zone: UTC}", "neither weekly nor dated"),
        ("{from: Fri 16:00, until: Fri 16:00, zone: UTC}", "has no time in it"),
        ("{from: 2026-12-02 07:00, until: 2026-12-01 07:00, zone: UTC}", "has no time in it"),
        ("{from: Fri 24:00, until: Mon 07:00, zone: UTC}", "Fri 24:00 is no time of a day"),
        ("{from: 2026-02-30 07:00, until: 2026-12-01 07:00, zone: UTC}", "2026-02-30 07:00 is no date"),
        ("{from: Friday, until: Mon 07:00, zone: UTC}", "freeze[0].from is 'Friday'; allowed is text that matches"),
        ("{from: Fri 16:00, until: Mon 07:00, zone: Europe/Berln}", "no time zone; did you mean Europe/Berlin?"),
        ("{from: Fri 16:00, until: Mon 07:00, zone: ../etc}", "'../etc' is no time zone"),
        ("{from: Fri 16:00, till: Mon 07:00, zone: UTC}", "freeze[0].till is no key of a policy; did you mean until?"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_its_line(tmp_path: Path, window: str, message: str) -> None:
    file = tmp_path / "bananas.yaml"
    file.write_text(f"freeze:\n  - {window}\n")
    with pytest.raises(BadSettingsError) as caught:
        load_policy(str(file))
    assert message in str(caught.value)
    assert ", line 2: " in str(caught.value)


def test_a_calendar_is_part_of_the_policy_and_of_its_text(tmp_path: Path) -> None:
    file = tmp_path / "bananas.yaml"
    file.write_text("freeze:\n  - {from: Fri 16:00, until: Mon 07:00, zone: Europe/Berlin, reason: Nobody is here.}\n")
    policy = load_policy(str(file))
    (tmp_path / "again.yaml").write_text(policy.text)

    assert policy.freeze == (WEEKEND,)
    assert load_policy(str(tmp_path / "again.yaml")) == policy


def test_the_end_of_a_freeze_is_by_the_clock_of_who_typed_it_and_shown_by_it() -> None:
    for zone in ("Asia/Kathmandu", "America/New_York"):
        end = datetime(2026, 12, 1, 8, tzinfo=ZoneInfo(zone)).timestamp()
        assert moment("2026-12-01 08:00", NOON, zone) == end
        assert until_words(end, zone).startswith(" until 2026-12-01 08:00 ")
    assert moment("2026-12-01T08:00+01:00", NOON, "Asia/Kathmandu") == at("2026-12-01 08:00")
    with pytest.raises(ValueError, match="no time zone"):
        moment("2026-12-01 08:00", NOON, "../etc/passwd")


def test_the_end_of_a_freeze_is_typed_as_a_span_or_a_moment() -> None:
    assert moment("90m", NOON) == NOON + 1.5 * HOUR
    assert moment("+4h", NOON) == NOON + 4 * HOUR
    assert moment("2d", NOON) == NOON + 48 * HOUR
    assert moment("2026-12-01T08:00+01:00", NOON) == at("2026-12-01 08:00")
    for typed in ("soon", "4", "-4h", "2026-11-24", "9999d", "0h", "2026-13-01"):
        with pytest.raises(ValueError, match="is no end of a freeze"):
            moment(typed, NOON)


def test_a_window_needs_the_form_that_the_schema_tells() -> None:
    with pytest.raises(ValidationError):
        FreezeWindow(from_="fri 16:00", until="Mon 07:00", zone="UTC")
