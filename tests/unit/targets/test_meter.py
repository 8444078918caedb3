"""Adding up what processes counted, though they restart, come, go and are lost sight of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.policy.model import Colour, Counters, TrafficSource
from banana_delivery.policy.rollout.counters import delta
from banana_delivery.targets.meter import (
    EDGE,
    GAVE_UP,
    OVERLOAD,
    RETRY,
    UNFINISHED,
    UNFINISHED_LATE,
    Meter,
    Sample,
    Scrape,
)

BACKEND = "blue/user"


def scrape(
    process: str = "router",
    start: float | None = None,
    age: float | None = None,
    *,
    relayed: bool = False,
    also: Mapping[str, int] = MappingProxyType({}),
    **counts: int,
) -> Scrape:
    """A process that shows counts by names such as ``c200``, and the edges of one histogram such as ``le1``."""
    samples = []
    for name, value in {**counts, **also}.items():
        is_edge = name.startswith("le")
        what = EDGE + name[2:].replace("inf", "+Inf") if is_edge else name.removeprefix("c").replace("_", " ")
        samples.append(Sample(BACKEND, what, what, value, "latency" if is_edge else ""))
    return Scrape(process, tuple(samples), start, age, relayed)


def polled(*polls: list[Scrape], meter: Meter | None = None) -> Counters:
    """What a meter shows after these polls, one a second."""
    meter = meter or Meter()
    for second, scrapes in enumerate(polls):
        meter.take(scrapes, float(second))
    return meter.snapshot(0.0, {}).backends.get(BACKEND, Counters())


def counted(*, also: Mapping[str, int] = MappingProxyType({}), **counts: int) -> Counters:
    return polled([scrape("router", None, None, relayed=False, also={**also, **counts})])


def test_replicas_of_a_colour_are_added_up() -> None:
    polls = [scrape("one", le1=2, leinf=2), scrape("two", le1=1, leinf=2)]

    assert polled(polls).latency == {"1": 3, "+Inf": 4}


def test_edges_come_in_their_order_with_infinity_last() -> None:
    assert list(counted(leinf=1, le10=1, le2=1).latency) == ["2", "10", "+Inf"]


def test_a_restarted_replica_keeps_what_it_had_counted() -> None:
    pages = [[scrape("one", le1=fast, leinf=fast + slow)] for fast, slow in ((10, 2), (1, 0), (3, 0))]

    assert polled(*pages).latency == {"1": 13, "+Inf": 15}


def test_a_histogram_starts_again_as_a_whole_even_if_one_of_its_edges_has_grown() -> None:
    assert polled([scrape(le1=2, leinf=10)], [scrape(le1=3, leinf=3)]).latency == {"1": 5, "+Inf": 13}


def test_a_replica_that_restarted_and_was_not_asked_yet_by_users_keeps_it_too() -> None:
    assert polled([scrape("one", leinf=10)], [scrape("one")]).latency == {"+Inf": 10}


def test_a_replica_that_is_gone_stays_in_the_sum() -> None:
    assert polled([scrape("one", c200=10), scrape("two", c200=1)], [scrape("two", c200=2)]).requests == 12


def test_a_router_that_restarts_is_counted_on_from_where_it_was() -> None:
    assert polled(*([scrape(c200=count)] for count in (100, 120, 5, 9))).requests == 120 + 9


def test_a_router_that_restarts_and_has_counted_more_than_before_is_known_by_its_start() -> None:
    assert polled([scrape(start=100.0, c200=5)], [scrape(start=200.0, c200=7)]).requests == 12


def test_a_start_that_is_rounded_to_another_second_is_no_restart() -> None:
    assert polled([scrape(start=100.2, c200=5)], [scrape(start=101.2, c200=7)]).requests == 7


def test_a_counter_that_shows_up_at_a_process_that_was_seen_before_is_new() -> None:
    assert polled([scrape(c200=9)], [scrape(c200=9, c500=3)]).failures["5xx"] == 3
    assert polled([scrape()], [scrape(c500=3)]).failures["5xx"] == 3


@pytest.mark.parametrize(("age", "counts"), [(0.5, 4), (3600.0, 0), (None, 0)], ids=["younger", "older", "unknown"])
def test_a_process_that_is_seen_later_began_at_zero_only_if_it_is_younger_than_the_first_poll(
    age: float | None, counts: int
) -> None:
    assert polled([scrape("one", c200=9)], [scrape("one", c200=9), scrape("two", 5.0, age, c200=4)]).requests == (
        9 + counts
    )


def test_what_a_late_process_counts_after_it_was_seen_is_new_in_any_case() -> None:
    assert polled([], [scrape("two", c200=4000)], [scrape("two", c200=4001)]).requests == 1


def test_two_routers_behind_one_address_are_two_processes() -> None:
    one, two = (100.0, 5000.0), (300.0, 4800.0)
    polls = [(one, 1000), (two, 40), (one, 1001), (two, 42), (one, 1003)]

    seen = polled(*([scrape("router", start, age, c500=count)] for (start, age), count in polls))

    assert seen.failures["5xx"] == 1000 + 3 + 2


def test_a_sum_that_falls_shows_nothing_new_since_it_hides_who_began_again() -> None:
    assert polled(*([scrape("", c500=count)] for count in (2000, 1005, 1007))).failures["5xx"] == 2002


@pytest.mark.parametrize("while_lost", [1000, 1003])
def test_a_sum_that_gets_back_what_was_lost_from_sight_counts_nothing_twice(while_lost: int) -> None:
    sums = (2000, 1000, while_lost, while_lost + 1000, while_lost + 1002)

    assert polled(*([scrape("", c500=count)] for count in sums)).failures["5xx"] == while_lost + 1002


def test_a_series_that_is_lost_for_a_while_is_not_counted_twice() -> None:
    for later in (900, 950):
        assert polled([scrape(c200=900)], [scrape()], [], [scrape(c200=later)]).requests == later


def test_an_older_answer_after_a_newer_one_changes_nothing() -> None:
    answers = [[scrape(start=1.0, age=50.0, relayed=True, c500=count)] for count in (100, 103, 101, 103, 104)]

    assert polled(*answers).failures["5xx"] == 104


def test_an_older_answer_from_before_a_restart_changes_nothing() -> None:
    before, after = scrape(start=1.0, relayed=True, c500=100), scrape(start=9.0, age=0.5, relayed=True, c500=2)

    assert polled([before], [after], [before], [after]).failures["5xx"] == 102


def test_a_counter_that_a_router_dropped_and_began_anew_counts_from_zero() -> None:
    assert polled([scrape(start=1.0, c500=100)], [scrape(start=1.0, c500=2)]).failures["5xx"] == 102


@pytest.mark.parametrize(("code", "kind"), [("c500", "5xx"), ("c501", "5xx"), ("c505", "5xx"), ("c504", "timeout")])
def test_an_answer_of_the_server_class_is_a_failure(code: str, kind: str) -> None:
    found = counted(c200=3, also={code: 2})

    assert (found.requests, found.failed, found.failures[kind]) == (5, 2, 2)


@pytest.mark.parametrize("code", ["c200", "c302", "c413", "c415", "c422"])
def test_a_clients_own_mistake_is_an_answer(code: str) -> None:
    found = counted(also={code: 2})

    assert (found.requests, found.failed) == (2, 0)


def test_what_is_no_status_is_no_answer() -> None:
    assert counted(c0=4, c200=1).requests == 1


def test_being_turned_away_is_counted_apart_from_failures() -> None:
    found = counted(c200=1, c503=4, also={OVERLOAD: 4})

    assert (found.requests, found.overloads, found.failed) == (5, 4, 0)


def test_a_503_that_no_replica_counted_as_overload_is_a_failure() -> None:
    found = counted(c503=5, also={OVERLOAD: 2})

    assert (found.requests, found.overloads, found.failures["5xx"]) == (5, 2, 3)


def test_an_overload_that_the_router_told_of_first_is_never_taken_back() -> None:
    meter = Meter()
    before = polled([scrape(c503=1)], meter=meter)
    after = polled([scrape("pod", also={OVERLOAD: 1})], meter=meter)

    assert before.failures["5xx"] == after.failures["5xx"] == 1


def test_a_replica_that_does_not_answer_gets_until_the_next_poll_to_tell_of_its_overload() -> None:
    meter, pod = Meter(), scrape("pod", c0=0)
    meter.take([scrape(c503=0), pod], 0.0)

    meter.take([scrape(c503=4)], 1.0, silent={Colour.BLUE})
    waiting = meter.snapshot(0.0, {}).backends[BACKEND]
    meter.take([scrape(c503=4), scrape("pod", c0=0, also={OVERLOAD: 3})], 2.0)
    told = meter.snapshot(0.0, {}).backends[BACKEND]

    assert (waiting.requests, waiting.failed, waiting.overloads) == (0, 0, 0)
    assert (told.requests, told.failed, told.overloads) == (4, 1, 3)


def test_a_replica_that_stays_silent_excuses_no_503() -> None:
    meter = Meter()
    meter.take([scrape(c503=0)], 0.0)
    for second in (1.0, 2.0):
        meter.take([scrape(c503=4)], second, silent={Colour.BLUE})

    assert meter.snapshot(0.0, {}).backends[BACKEND].failures["5xx"] == 4


def test_tries_that_were_made_good_are_no_requests() -> None:
    found = counted(c200=10, also={RETRY: 6})

    assert (found.requests, found.failed, found.retries) == (10, 0, 6)


def test_no_count_falls_between_the_last_try_and_the_page_for_the_lost() -> None:
    meter = Meter()
    before = polled([scrape(c200=10, also={RETRY: 15})], meter=meter)
    after = polled([scrape(c200=10, c502=1, also={RETRY: 15})], meter=meter)

    assert delta(after, before).failures["connection"] == 1
    assert delta(after, before).requests == 1


def test_every_class_is_named_even_before_the_first_request() -> None:
    shown = Meter().snapshot(0.0, {}, backends=[BACKEND]).backends[BACKEND]

    assert set(shown.failures) == {"5xx", "connection", "timeout", "gave_up"}


@pytest.mark.parametrize(
    ("counts", "requests", "failed", "unfinished"),
    [
        ({"200": 100, GAVE_UP: 20, UNFINISHED_LATE: 20}, 100, 0, 20),
        ({"200": 100, "502": 20, UNFINISHED_LATE: 20}, 100, 0, 20),
        ({"200": 100, "502": 20, UNFINISHED: 20}, 100, 0, 20),
        ({"200": 100, GAVE_UP: 20, UNFINISHED: 20}, 120, 20, 0),
        ({"200": 100, GAVE_UP: 20, UNFINISHED_LATE: 5}, 115, 15, 5),
        ({"200": 100, GAVE_UP: 3, "502": 4, UNFINISHED_LATE: 5}, 102, 2, 5),
        ({"200": 100, "500": 9, "504": 2, UNFINISHED_LATE: 50}, 111, 11, 0),
        ({"200": 100, UNFINISHED: 7}, 100, 0, 0),
    ],
)
def test_an_upload_that_no_replica_had_whole_is_no_failure_and_no_request(
    counts: dict[str, int], requests: int, failed: int, unfinished: int
) -> None:
    found = counted(also=counts)

    assert (found.requests, found.failed, found.unfinished) == (requests, failed, unfinished)


def test_what_the_probe_could_not_send_was_not_taken() -> None:
    backend = f"{Colour.BLUE}/{TrafficSource.PROBE}"
    samples = (Sample(backend, GAVE_UP, GAVE_UP, 4), Sample(backend, UNFINISHED_LATE, UNFINISHED_LATE, 4))
    meter = Meter()
    meter.take([Scrape("router", samples)], 0.0)

    assert meter.snapshot(0.0, {}).backends[backend].failures["gave_up"] == 4


def test_snapshots_say_which_meter_took_them() -> None:
    one, another = Meter(), Meter()

    assert one.snapshot(0.0, {}).meter == one.snapshot(1.0, {}).meter != another.snapshot(0.0, {}).meter


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["200", "503", "502", OVERLOAD, GAVE_UP, UNFINISHED, "le 1"]),
            st.integers(0, 50),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_nothing_that_is_shown_ever_falls(polls: list[tuple[str, int, bool]]) -> None:
    meter = Meter()
    backend = f"{Colour.BLUE}/{TrafficSource.USER}"
    last = Counters()
    for second, (what, value, is_silent) in enumerate(polls):
        sample = Sample(backend, what, what, value)
        meter.take([Scrape("router", (sample,))], float(second), silent={Colour.BLUE} if is_silent else ())
        now = meter.snapshot(0.0, {}).backends[backend]
        assert now.requests >= last.requests
        assert now.overloads >= last.overloads
        assert all(now.failures[name] >= count for name, count in last.failures.items())
        assert all(now.latency[edge] >= count for edge, count in last.latency.items())
        last = now
