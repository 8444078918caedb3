"""Spans of time as other systems write them."""

from __future__ import annotations

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.errors import BadSettingsError
from banana_delivery.settings import load_settings
from banana_delivery.waiting import gateway_duration, retry_after

GATEWAY_API = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
LONGEST = 99_999 * 3_600_000 + 3_599_999
MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
NOON, MINUTE_PAST = "Wed, 21 Oct 2026 12:00:00 GMT", "Wed, 21 Oct 2026 12:01:00 GMT"


def milliseconds(duration: str) -> int:
    """What the Gateway API understands."""
    parts = re.findall(r"([0-9]+)(ms|h|m|s)", duration)
    assert "".join(map("".join, parts)) == duration
    return sum(int(number) * MILLISECONDS[unit] for number, unit in parts)


@given(st.integers(0, LONGEST) | st.integers(0, 200_000))
def test_every_span_down_to_a_millisecond_is_written_as_the_gateway_api_takes_it_and_exactly_as_long(span: int) -> None:
    written = gateway_duration(span / 1000)

    assert GATEWAY_API.fullmatch(written)
    assert milliseconds(written) == span


@given(st.floats())
def test_what_cannot_be_written_exactly_is_refused_and_never_rounded(seconds: float) -> None:
    try:
        written = gateway_duration(seconds)
    except ValueError:
        return
    assert GATEWAY_API.fullmatch(written)
    assert milliseconds(written) / 1000 == seconds


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.1, "100ms"), (99.999, "99999ms"), (100, "1m40s"), (120, "2m"), (359_996_400, "99999h")]
)
def test_a_span_is_written_in_few_units(seconds: float, written: str) -> None:
    assert gateway_duration(seconds) == written


@pytest.mark.parametrize("value", ["0.0001", "inf", "nan", "-1", "360000000", "1e300"])
def test_a_route_timeout_that_the_gateway_cannot_be_told_is_refused_when_the_settings_are_read(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANANA_KUBERNETES_ROUTE_TIMEOUT_SECONDS", value)

    with pytest.raises(BadSettingsError, match="BANANA_KUBERNETES_ROUTE_TIMEOUT_SECONDS cannot be used"):
        load_settings()


@pytest.mark.parametrize("seconds", ["0", "0.25", "100", "3600"])
def test_a_route_timeout_that_it_can_be_told_is_taken(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_KUBERNETES_ROUTE_TIMEOUT_SECONDS", seconds)

    assert load_settings().kubernetes_route_timeout_seconds == float(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"Retry-After": MINUTE_PAST, "Date": NOON}, 60),
        ({"Retry-After": NOON, "Date": MINUTE_PAST}, 0),
        ({"Retry-After": MINUTE_PAST}, 0),
        ({"Retry-After": "soon", "Date": NOON}, 0),
        ({"Retry-After": "-7"}, 0),
        ({"Retry-After": "1.5"}, 0),
        ({"Retry-After": "²"}, 0),
    ],
)
def test_a_server_is_left_alone_for_as_long_as_it_asks_by_its_own_clock(
    headers: dict[str, str], seconds: float
) -> None:
    assert retry_after(httpx.Headers(headers, encoding="latin-1")) == seconds
