from itertools import cycle
from pathlib import Path

import pytest

from serving.errors import ConfigurationError
from serving.faults import Fault, FaultSwitch, parse_fault

from .clients import build_replica, client_of, post
from .images import encode, picture


def test_no_fault_is_the_default() -> None:
    assert parse_fault("") is None
    assert FaultSwitch(None, "production").strike("user") is None


def test_a_fault_is_read_with_its_conditions() -> None:
    text = " slow:seconds=1.5,after=3, rate=0.25,environment=production,traffic=probe"
    assert parse_fault(text) == Fault("slow", 0.25, 3, 1.5, "production", "probe")
    assert parse_fault("hang") == Fault("hang")


MISTAKES = [
    "explode",
    "error:often",
    "error:rate=2",
    "error:rate=x",
    "error:rate=nan",
    "slow:seconds=-1",
    "error:after=-5",
    ":rate=1",
    "error:colour=blue",
    "error:traffic=everybody",
    "error:environment=prod",
]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_stops_the_start_with_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^FAULT cannot be understood: .*\.$"):
        parse_fault(text)


def test_a_fault_strikes_after_so_many_requests_and_at_its_rate() -> None:
    chances = cycle([0.4, 0.6])
    switch = FaultSwitch(Fault("error", rate=0.5, after=3), "staging", lambda: next(chances))
    assert [switch.strike("user") is not None for _ in range(7)] == [False] * 3 + [True, False, True, False]


def test_requests_it_does_not_apply_to_are_neither_struck_nor_counted() -> None:
    switch = FaultSwitch(Fault("error", after=1, traffic="user"), "production")
    assert [switch.strike("probe") for _ in range(3)] == [None] * 3
    assert switch.strike("user") is None
    assert switch.strike("user") is not None
    elsewhere = FaultSwitch(Fault("error", environment="production"), "staging")
    assert elsewhere.strike("user") is None


def test_a_rehearsed_error_reaches_only_the_traffic_it_names(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path, fault="error:after=1,traffic=user,environment=production")) as client:
        image = encode(picture())
        statuses = [post(client, image).status_code for _ in range(3)]
        probe = post(client, image, headers={"X-Banana-Traffic": "probe"}).status_code
    assert (statuses, probe) == ([200, 500, 500], 200)
