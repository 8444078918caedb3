from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.policy.outages import DAILY, MOST_BETWEEN_LOOKS, PATIENCE, Outage, Trouble, Word, assess

AWAY, REFUSED = Trouble.UNREACHABLE, Trouble.REFUSED
TICK = 20.0


def told(
    tries: Iterable[str], trouble: Trouble = AWAY, tick: float = TICK, start: float = 1000.0
) -> list[tuple[float, Word]]:
    """When what is told, in seconds since the first try."""
    outage, result = Outage(), []
    for number, failed in enumerate(tries):
        outage, word = assess(outage, trouble, failed, start + number * tick, wall=1_700_000_000.0)
        outage = Outage.model_validate_json(outage.model_dump_json())
        if word:
            result.append((number * tick, word))
    return result


def test_a_registry_that_is_away_is_told_after_a_quarter_of_an_hour_again_after_hours_and_when_it_is_back() -> None:
    tries = ["away"] * int(5 * 3600 / TICK) + [""] * 10
    (begun, still, over) = told(tries)
    assert (begun, still) == ((900.0, Word.BEGUN), (4 * 3600.0, Word.STILL))
    assert over == (5 * 3600.0 + PATIENCE[AWAY].steady, Word.OVER)


def test_a_short_absence_is_nobodys_business() -> None:
    assert told(["away"] * 40 + [""] * 100) == []


def test_a_registry_that_is_away_for_days_is_told_daily() -> None:
    words = told(["away"] * int(5 * DAILY / 60), tick=60.0)
    assert [at for at, _ in words] == [900.0, 4 * 3600.0, DAILY, 2 * DAILY, 3 * DAILY, 4 * DAILY]


def test_one_that_flaps_is_one_trouble() -> None:
    words = told((["away"] * 5 + [""] * 2) * 100 + [""] * 100)
    assert [word for _, word in words].count(Word.BEGUN) == 1
    assert words[-1][1] is Word.OVER


def test_being_refused_is_told_at_once_and_after_one_success_over() -> None:
    assert told(["no", "no", "", ""], REFUSED) == [(0.0, Word.BEGUN), (2 * TICK, Word.OVER)]


def test_the_reason_that_is_told_is_the_last_one_and_the_beginning_the_first() -> None:
    outage, _ = assess(Outage(), AWAY, "first", 0.0, wall=100.0)
    outage, _ = assess(outage, AWAY, "second", 1.0, wall=90.0)
    assert (outage.since, outage.reason) == (100.0, "second")


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_begins_anew_or_a_night_without_looks_makes_no_long_trouble(jump: float) -> None:
    outage, _ = assess(Outage(), AWAY, "away", 0.0, wall=0.0)
    outage, word = assess(outage, AWAY, "away", jump, wall=0.0)
    assert word is None
    assert outage.lasted <= MOST_BETWEEN_LOOKS


@given(st.lists(st.tuples(st.booleans(), st.floats(-1e9, 1e9)), max_size=60), st.sampled_from(Trouble))
def test_whatever_the_clock_does_over_is_told_exactly_after_what_began(
    tries: list[tuple[bool, float]], trouble: Trouble
) -> None:
    outage, words = Outage(), []
    for failed, at in tries:
        outage, word = assess(outage, trouble, "away" if failed else "", at, wall=at)
        words += [word] if word else []
    allowed = {None: {Word.BEGUN}, Word.BEGUN: {Word.STILL, Word.OVER}, Word.STILL: {Word.STILL, Word.OVER}}
    for before, after in zip([None, *words], words, strict=False):
        assert after in allowed.get(before, {Word.BEGUN})
