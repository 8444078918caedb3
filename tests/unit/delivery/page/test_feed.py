"""However many watch, one reader reads; whoever comes late sees what was, and whoever is slow holds nobody up."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from banana_delivery.delivery.page import feed
from banana_delivery.delivery.page.feed import MOST_POINTS, Curves, Feed
from banana_delivery.errors import RefusedError, TargetError
from banana_delivery.reports.overview import Overview
from tests.unit.reports.test_terminal import NOW
from tests.unit.reports.test_watching import STEP, UNDER_WAY


class Place:
    """What is looked at: each look finds the step a second older."""

    def __init__(self) -> None:
        self.looks, self.whole_looks, self.away = 0, 0, False

    def around(self) -> Overview:
        self.whole_looks += 1
        if self.away:
            raise TargetError("The router is away.")
        return Overview(NOW, [UNDER_WAY], waiting=["version 43 (sensor)"])

    def again(self, before: Overview) -> Overview:
        self.looks += 1
        step = STEP.replace(at=NOW + self.looks)
        return replace(before, at=NOW + self.looks, records=[UNDER_WAY.replace(look=step.model_dump_json())])

    def feed(self) -> Feed:
        return Feed(self.around, self.again, lambda _: {"model": "leaves"}, pause=0.001)


async def taken(events: AsyncIterator[str], count: int) -> list[dict[str, Any]]:
    """So many events, as a page reads them."""
    found = []
    async for event in events:
        assert event.startswith("data: ")
        assert event.endswith("\n\n")
        assert event.count("\n") == 2
        found.append(json.loads(event.removeprefix("data: ")))
        if len(found) == count:
            break
    await events.aclose()  # type: ignore[attr-defined]  # it is a generator
    return found


def test_many_watchers_cost_one_reader_and_all_see_the_same() -> None:
    place = Place()

    async def watched() -> list[list[dict[str, Any]]]:
        one = place.feed()
        return await asyncio.gather(*(taken(one.watch(), 5) for _ in range(50)))

    found = asyncio.run(watched())
    assert place.whole_looks == 1
    assert place.looks < 3 * 5
    assert {tuple(event["at"] for event in each) for each in found} == {tuple(event["at"] for event in found[0])}
    assert found[0][-1]["environments"]["production"]["step"]["kind"] == "shift"
    assert found[0][-1]["model"] == "leaves"


def test_who_comes_late_is_told_at_once_what_is_and_how_the_evidence_went() -> None:
    async def watched() -> dict[str, Any]:
        one = Place().feed()
        early = asyncio.create_task(taken(one.watch(), 20))
        await asyncio.sleep(0)
        while len(one._curves.points) < 5:
            await asyncio.sleep(0.001)
        (first,) = await taken(one.watch(), 1)
        await early
        return first

    points = asyncio.run(watched())["curves"]
    assert len(points) >= 5
    assert points[0]["failures"] == pytest.approx(0.5)
    assert points[0]["healthy"] == pytest.approx(0.5)
    assert "slow" not in points[0], "what production suffers too is held against nobody"


def test_nobody_reads_where_nobody_watches_and_reading_begins_again_with_the_next() -> None:
    place = Place()

    async def watched() -> tuple[int, int]:
        one = place.feed()
        await taken(one.watch(), 2)
        assert one._reader is not None
        await one._reader
        before = place.looks
        await taken(one.watch(), 3)
        return before, place.looks

    before, after = asyncio.run(watched())
    assert 0 < before < after


def test_who_comes_when_nobody_watched_for_long_is_told_what_is_and_not_what_was() -> None:
    """A link in a message is opened at night: what it asks about is not among what was seen the day before."""
    place, said = Place(), ["version 42 (sensor)"]
    found: list[list[str]] = []

    def around() -> Overview:
        time.sleep(0.05)  # The audit trail takes longer than the record.
        return replace(place.around(), waiting=list(said))

    async def watched() -> None:
        one = Feed(around, place.again, lambda _: {}, pause=0.001)
        await taken(one.watch(), 2)
        assert one._reader is not None
        await one._reader
        said[:] = ["version 43 (sensor)"]
        several = await asyncio.gather(*(taken(one.watch(), 1) for _ in range(2)))
        found.extend(first["waiting"] for (first,) in several)

    asyncio.run(watched())
    assert found == [said, said]


def test_one_more_than_may_watch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_WATCHERS", 1)

    async def watched() -> None:
        one = Place().feed()
        first = one.watch()
        await anext(first)
        with pytest.raises(RefusedError, match="Too many watch"):
            await anext(one.watch())
        await first.aclose()  # type: ignore[attr-defined]  # it is a generator
        await taken(one.watch(), 1)

    asyncio.run(watched())


def test_what_cannot_be_looked_at_for_a_while_ends_no_watch(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    place.away = True

    async def watched() -> list[dict[str, Any]]:
        one = place.feed()
        waiting = asyncio.create_task(taken(one.watch(), 1))
        while place.whole_looks < 2:
            await asyncio.sleep(0.001)
        place.away = False
        return await waiting

    assert asyncio.run(watched())[0]["waiting"] == ["version 43 (sensor)"]
    assert "The router is away." in caplog.text


def test_who_comes_while_a_look_hangs_is_not_told_what_was_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the cluster does not answer for half a minute: a page that heard nothing asks again, and is not live."""
    monkeypatch.setattr(feed, "QUIET_SECONDS", 0.01)
    place, goes_on = Place(), threading.Event()
    again = place.again

    def hangs(before: Overview) -> Overview:
        return again(before) if place.looks == 0 or goes_on.wait(10) else before

    monkeypatch.setattr(place, "again", hangs)

    async def watched() -> dict[str, Any]:
        one = place.feed()
        early = asyncio.create_task(taken(one.watch(), 2))
        while not one._last:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        late = asyncio.create_task(taken(one.watch(), 1))
        await asyncio.sleep(0.05)
        assert not late.done()
        goes_on.set()
        await early
        return (await late)[0]

    assert asyncio.run(watched())["at"] > NOW + 1


def test_while_the_audit_trail_is_away_it_is_said_that_what_stands_there_is_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "AROUND_SECONDS", 0.0)
    place = Place()

    async def watched() -> list[str]:
        told = place.feed().watch()
        (first,) = [json.loads((await anext(told)).removeprefix("data: "))]
        troubles = [first["trouble"]]
        for place.away in (True, False):
            while bool(troubles[-1]) is not place.away:
                troubles.append(json.loads((await anext(told)).removeprefix("data: "))["trouble"])
        await told.aclose()  # type: ignore[attr-defined]  # it is a generator
        return troubles

    troubles = asyncio.run(asyncio.wait_for(watched(), 20))
    assert (troubles[0], troubles[-1]) == ("", "")
    assert any("as it was seen last: The router is away." in one for one in troubles)


def test_who_comes_while_the_audit_trail_is_away_is_not_told_what_others_saw_the_day_before() -> None:
    place = Place()

    async def watched() -> None:
        one = place.feed()
        await taken(one.watch(), 2)
        assert one._reader is not None
        await one._reader
        place.away = True
        late = asyncio.create_task(taken(one.watch(), 1))
        await asyncio.sleep(0.05)
        assert not late.done()
        place.away = False
        await late

    asyncio.run(asyncio.wait_for(watched(), 20))


def test_a_look_that_fails_ends_no_watch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    again = place.again

    def fails_once(before: Overview) -> Overview:
        seen = again(before)
        if place.looks == 2:
            raise OSError("Too many open files.")
        return seen

    monkeypatch.setattr(place, "again", fails_once)

    async def watched() -> list[dict[str, Any]]:
        return await asyncio.wait_for(taken(place.feed().watch(), 3), 5)

    assert [event["at"] - NOW for event in asyncio.run(watched())] == [1, 3, 4]
    assert "Too many open files." in caplog.text


def test_a_long_curve_keeps_its_whole_length_and_loses_points_and_another_delivery_begins_anew() -> None:
    curves = Curves()
    for second in range(3 * MOST_POINTS):
        step = STEP.replace(at=NOW + second)
        curves.add([UNDER_WAY.replace(look=step.model_dump_json())])
    assert len(curves.points) <= MOST_POINTS
    assert (curves.points[0]["at"], curves.points[-1]["at"]) == (NOW, NOW + 3 * MOST_POINTS - 1)
    curves.add([UNDER_WAY.replace(owner="another", look=STEP.model_dump_json())])
    assert len(curves.points) == 1
