"""A bad release goes, whatever else is broken: each fault of the catalogue alone, and each two of the chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from banana_delivery.errors import BananaDeliveryError
from tests import ROOT
from tests.integration.delivery.gameday.catalogue import CATALOGUE, PAIRS, Fault, impossible
from tests.integration.delivery.gameday.day import AT_ONCE_SECONDS, BAD, Day, Stage
from tests.integration.delivery.gameday.place import START_SECONDS
from tests.integration.delivery.serving import FIRST


@contextmanager
def day_with(stage: Stage, faults: Sequence[Fault]) -> Iterator[Day]:
    """A day on which these things are broken."""
    with contextmanager(stage.day)(on_its_way=any(fault.on_its_way for fault in faults)) as day:
        assert day.target.game_place.users_of(BAD)
        # What hinders whoever breaks the others comes last.
        for fault in sorted(
            faults, key=lambda fault: fault.takes == "history" and fault.name != "a line that cannot be read"
        ):
            fault.apply(day)
        yield day


def bad_release_is_out(day: Day, faults: Sequence[Fault]) -> None:
    """Its users left in time, and nobody was sent where nothing answers."""
    assert not day.target.game_place.users_of(BAD)
    assert day.worst == 0
    starts = 0.0 if all(fault.warm for fault in faults) else START_SECONDS
    assert day.out_after is not None
    assert day.out_after <= starts + AT_ONCE_SECONDS


def play(stage: Stage, faults: Sequence[Fault]) -> None:
    with day_with(stage, faults) as day:
        refused = impossible(*faults)
        if refused:
            with pytest.raises(BananaDeliveryError, match=refused) as answer:
                day.type_rollback()
            assert day.target.game_place.users_of(BAD)
            assert not day.target.game_place.unanswered()
            assert day.told() == []
            day.faults_end()
            # A line that cannot be read stays so: the sentence says how to go back all the same.
            day.type_rollback(to=FIRST if "name the release to go back to" in str(answer.value) else "")
        else:
            day.watched(day.person_rolls_back)
            bad_release_is_out(day, faults)
            day.faults_end()
        day.settle()
        day.is_over(at_least_once=any(fault.told_again for fault in faults))


def ids(faults: Sequence[Fault]) -> str:
    return " and ".join(fault.name for fault in faults)


EVERY_OTHER = [pytest.param(one, marks=[pytest.mark.long] * (number % 2)) for number, one in enumerate(CATALOGUE)]
"""Half of the catalogue is played with each change, the other half with the long tests."""


@pytest.mark.parametrize("fault", EVERY_OTHER, ids=lambda fault: fault.name)
def test_a_person_takes_a_bad_release_out_while_one_thing_is_broken(stage: Stage, fault: Fault) -> None:
    play(stage, [fault])


@pytest.mark.long
@pytest.mark.parametrize("pair", PAIRS, ids=ids)
def test_a_person_takes_a_bad_release_out_while_two_things_are_broken(stage: Stage, pair: tuple[Fault, Fault]) -> None:
    play(stage, pair)


@pytest.mark.long
@pytest.mark.parametrize("fault", [one for one in CATALOGUE if not one.on_its_way], ids=lambda fault: fault.name)
def test_the_watch_takes_a_bad_release_out_while_one_thing_is_broken(stage: Stage, fault: Fault) -> None:
    with day_with(stage, [fault]) as day:
        day.watch_rolls_back()
        assert not day.target.game_place.users_of(BAD)
        assert day.target.game_place.unanswered() == 0
        day.faults_end()
        day.settle()
        day.is_over(at_least_once=fault.told_again)


def test_the_chosen_are_twenty() -> None:
    assert (len(CATALOGUE), len(PAIRS)) == (25, 190)


def row(fault: Fault) -> str:
    """What the page about game days says of a fault."""
    paired, warm = "yes" if fault.chosen else "", "yes" if fault.warm else "no"
    return f"| {fault.name} | {paired} | {warm} | {fault.promise} |"


def test_the_page_lists_the_catalogue() -> None:
    page = (ROOT / "docs" / "game-days.md").read_text()
    assert [line for line in page.splitlines() if line in {row(fault) for fault in CATALOGUE}] == [
        row(fault) for fault in CATALOGUE
    ]
