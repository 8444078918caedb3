"""What a policy may say and nobody should without meaning it has its sentence, and what comes with the product none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from banana_delivery.policies.foolish import foolish
from banana_delivery.policies.reading import NAMED, read_policy

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
"""A Wednesday."""


METRIC = """
metrics:
  - {name: up, provider: prometheus, address: "http://p", kind: value, query: "min_over_time(up[1m])",
     failure_condition: "< 1"}
"""
LATE = METRIC.replace("name: up", "name: late, initial_delay_seconds: 300")


def told(text: str) -> str:
    return " ".join(foolish(read_policy(text, "mine.yaml", "mine"), NOW))


@pytest.mark.parametrize("name", NAMED)
def test_the_products_policies_are_not_foolish(name: str) -> None:
    assert foolish(NAMED[name], NOW) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (METRIC, "The metric up is a threshold on 3 measurements in a row and no test"),
        (METRIC, "The metric up names no release by $colour, $digest or $version: it parks where it fails"),
        (LATE, "The metric late says nothing for 300 s, and the shift step's 45 s are waited for twice"),
        ("approvers: {needed: 2}", "one person who types under two names is two"),
        ("approvers: {needed: 2, who: [ada, ada]}", "names 1 and 2 are needed"),
        ("plan: {alpha: 0.5}", "one in 2 sound releases may be turned back"),
        ("plan: {healthy_alpha: 0.2}", "one in 5 candidates beyond a limit may pass early"),
        ("plan: {error_threshold: 0.5}", "plan.error_threshold is 0.5: one in 2 requests may be bad"),
        ("plan: {latency_share: 0.25}", "plan.latency_share is 0.25"),
        ("plan: {minimum_sample: 100000}", "without users, every delivery is parked there"),
        ("plan: {probe_limit: 1}", "the probe sends 90 at most"),
        ("plan: {error_threshold: 0.0005}", "with few users every step lasts to its ceiling"),
        ("plan: {minimum_failures: 500}", "before a release that answers nothing at all is turned back"),
        ("plan: {probe_trickle: 100}", "above plan.probe_limit, 30"),
        ("plan: {ab_percent: 50}", "meet a candidate of which nothing is known"),
        ("plan: {steps: [100]}", "all users move at once"),
        ("plan: {restart_seconds: 600}", "what is good at first hides what begins late"),
        ("plan: {ab_seconds: 20000}", "A delivery may take"),
        ("quality: {recall: 0.9}", "may lose 90% points of it"),
        ("quality: {family_error: 0.5}", "one in 2 equal models is turned back"),
    ],
)
def test_what_is_foolish_is_said(text: str, said: str) -> None:
    assert said in told(text)


def freeze(*windows: tuple[str, str]) -> str:
    return "freeze:\n" + "\n".join(
        f"  - {{from: '{begin}', until: '{end}', zone: Europe/Berlin}}" for begin, end in windows
    )


@pytest.mark.parametrize(
    "windows",
    [
        (("Mon 00:00", "Sat 00:00"), ("Fri 12:00", "Mon 06:00")),
        (("Tue 10:00", "Mon 09:00"), ("Mon 09:00", "Tue 10:00")),
        (("Sun 00:00", "Wed 00:00"), ("Wed 00:00", "Sat 00:00"), ("Sat 00:00", "Sun 00:00")),
    ],
)
def test_a_freeze_that_never_ends_is_told(windows: tuple[tuple[str, str], ...]) -> None:
    assert "nothing ever enters production" in told(freeze(*windows))
    assert "freeze:" not in told(freeze(*windows[:-1]))


def test_a_long_freeze_is_told_with_its_days_although_it_lies_ahead() -> None:
    said = told(freeze(("2027-01-01 00:00", "2027-03-01 00:00"), ("2027-02-20 00:00", "2027-06-01 00:00")))
    assert "from 2026-12-31 to 2027-05-31, 151 days in a row" in said


def test_a_window_that_is_over_may_be_taken_out() -> None:
    assert "is over; take it out" in told(freeze(("2024-12-23 12:00", "2025-01-04 07:00")))


def test_the_usual_weekend_is_not_foolish() -> None:
    assert told(freeze(("Fri 16:00", "Mon 07:00"), ("2026-12-23 12:00", "2027-01-04 07:00"))) == ""


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Etc/GMT+12", "UTC", "Pacific/Kiritimati"])
@pytest.mark.parametrize("how_many", [1, 2])
def test_a_freeze_until_the_end_of_the_calendar_is_told_in_every_zone(zone: str, how_many: int) -> None:
    windows = ["2027-01-05 12:00, until: 9999-12-31 23:59", "Mon 00:00, until: Sun 23:59"]
    said = told("freeze:\n" + "".join(f"  - {{from: {one}, zone: {zone}}}\n" for one in windows[:how_many]))
    assert "from 2027-01-0" in said
    assert "to 9999-12-30" in said
