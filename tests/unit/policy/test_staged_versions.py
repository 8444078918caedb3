from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.policy.staged_versions import (
    Cursor,
    Staging,
    Trigger,
    UnderWay,
    choose,
    look,
    newest,
    parse_cursor,
    superseded,
)

EMPTY = Cursor()


def staged(version: str, at: float | None) -> Staging:
    return Staging(version=version, staged_at=at)


def test_a_version_triggers_once_however_often_it_is_looked_at() -> None:
    cursor, first = look(EMPTY, [staged("7", 100.0)], now=101.0)
    _, second = look(cursor, [staged("7", 100.0)], now=106.0)
    assert [trigger.version for trigger in first] == ["7"]
    assert second == []


def test_staging_a_version_again_triggers_again_with_another_run_key() -> None:
    cursor, first = look(EMPTY, [staged("7", 100.0)], now=101.0)
    _, moved = look(cursor, [staged("7", 200.0)], now=201.0)
    assert first[0].run_key != moved[0].run_key


def test_an_alias_that_was_taken_away_and_put_back_triggers_with_another_run_key() -> None:
    cursor, first = look(EMPTY, [staged("7", None)], now=101.0)
    cursor, gone = look(cursor, [], now=106.0)
    _, again = look(cursor, [staged("7", None)], now=101.0)
    assert gone == []
    assert first[0].run_key != again[0].run_key


def test_alias_and_stage_of_one_version_are_one_staging_in_either_order() -> None:
    by_alias, first = look(EMPTY, [staged("7", None)], now=101.0)
    _, then_stage = look(by_alias, [staged("7", 103.0)], now=106.0)
    by_stage, other_first = look(EMPTY, [staged("7", 103.0)], now=104.0)
    _, then_alias_only = look(by_stage, [staged("7", None)], now=106.0)
    assert len(first) == len(other_first) == 1
    assert then_stage == then_alias_only == []


def test_a_lost_cursor_repeats_the_run_key_so_that_dagster_does_not_deliver_twice() -> None:
    _, before = look(EMPTY, [staged("7", 100.0)], now=101.0)
    _, after = look(parse_cursor("not a cursor"), [staged("7", 100.0)], now=900.0)
    assert before[0].run_key == after[0].run_key


def test_the_cursor_survives_being_written_down() -> None:
    cursor, _ = look(EMPTY, [staged("7", 100.0), staged("8", None)], now=101.0)
    assert parse_cursor(cursor.model_dump_json()) == cursor


def test_the_last_staging_wins_by_time_and_not_by_number() -> None:
    _, triggers = look(EMPTY, [staged("3", 200.0), staged("12", 100.0)], now=201.0)
    winner = newest(triggers)
    assert winner is not None
    assert winner.version == "3"


def test_a_staging_seen_by_alias_counts_from_when_it_was_seen() -> None:
    _, triggers = look(EMPTY, [staged("2", None), staged("9", 100.0)], now=150.0)
    assert [trigger.version for trigger in triggers] == ["9", "2"]


def test_only_earlier_deliveries_of_other_versions_before_production_are_superseded() -> None:
    by = Trigger(version="5", staged_at=100.0, run_key="5", order=8)
    earlier = UnderWay(run_id="earlier", version="9", staged_at=190.0, in_production=False, order=7)
    same_version = earlier.replace(run_id="same", version="5")
    later = earlier.replace(run_id="later", staged_at=10.0, order=9)
    in_production = earlier.replace(run_id="in production", in_production=True)
    before_counting = earlier.replace(run_id="before", order=0)
    assert superseded([earlier, same_version, later, in_production, before_counting], by) == [earlier, before_counting]


@pytest.mark.parametrize("alias_seen_at", [50.0, 1000.0])
def test_an_alias_and_a_stage_of_one_look_supersede_nobody_whatever_the_clocks_say(alias_seen_at: float) -> None:
    _, triggers = look(EMPTY, [staged("2", None), staged("9", 100.0)], now=alias_seen_at)
    deliver, overtaken = choose(triggers)
    assert ({one.version for one in deliver}, overtaken) == ({"2", "9"}, [])


def test_of_several_stages_of_one_look_the_registrys_last_is_delivered() -> None:
    _, triggers = look(EMPTY, [staged("3", 200.0), staged("12", 100.0), staged("1", None)], now=0.0)
    deliver, overtaken = choose(triggers)
    assert [one.version for one in deliver] == ["3", "1"]
    assert [(one.trigger.version, one.by.version) for one in overtaken] == [("12", "3")]


@pytest.mark.parametrize("first", [None, 5_000.0])
def test_a_staging_that_is_seen_later_supersedes_though_the_registrys_clock_is_behind(first: float | None) -> None:
    cursor, [before] = look(EMPTY, [staged("7", first)], now=5_000.0)
    _, [after] = look(cursor, [staged("7", first), staged("8", 100.0)], now=90.0)
    run = UnderWay(run_id="r", version="7", staged_at=before.staged_at, in_production=False, order=before.order)
    assert superseded([run], after) == [run]


def test_a_staging_is_not_lost_when_the_registrys_clock_goes_back() -> None:
    cursor, [first] = look(EMPTY, [staged("7", 5_000.0)], now=1.0)
    cursor, [again] = look(cursor, [staged("7", 100.0)], now=2.0)
    assert first.run_key != again.run_key
    assert again.order > first.order
    assert look(cursor, [staged("7", 100.0)], now=3.0)[1] == []


def test_a_stage_that_moved_while_the_alias_stayed_is_a_new_staging() -> None:
    cursor, _ = look(EMPTY, [staged("7", 100.0)], now=1.0)
    cursor, gone = look(cursor, [staged("7", None)], now=2.0)
    _, again = look(cursor, [staged("7", 300.0)], now=3.0)
    assert (gone, [one.version for one in again]) == ([], ["7"])


def test_a_cursor_that_was_stored_before_stagings_were_counted_is_read_and_goes_on() -> None:
    old = (
        '{"versions": {"7": {"staged_at": 100.0, "transitions": 3, "staged": true, "by_stage": true},'
        ' "8": {"staged_at": 90.0, "transitions": 1, "staged": true, "by_stage": false}}}'
    )
    cursor = parse_cursor(old)
    assert cursor.looked
    assert look(cursor, [staged("7", 100.0), staged("8", 95.0)], now=1.0)[1] == []
    _, [moved] = look(cursor, [staged("7", 50.0), staged("8", None)], now=1.0)
    assert moved.run_key == "7@50000#4"


def test_what_was_never_looked_at_says_so() -> None:
    assert not parse_cursor(None).looked
    assert not parse_cursor("{half").looked
    assert look(parse_cursor(None), [], now=0.0)[0].looked


clocks = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)
VERSIONS = ["3", "7", "12"]
changes = st.lists(
    st.tuples(st.sampled_from(["stage", "unstage", "alias", "unalias"]), st.sampled_from(VERSIONS), clocks), max_size=3
)


class Registry:
    """What people did to stages and aliases."""

    def __init__(self) -> None:
        self.stage: dict[str, float] = {}
        self.alias: set[str] = set()

    def change(self, what: str, version: str, at: float) -> None:
        if what == "stage" and self.stage.get(version) != at:
            self.stage[version] = at
        elif what == "unstage":
            self.stage.pop(version, None)
        elif what == "alias":
            self.alias.add(version)
        else:
            self.alias.discard(version)

    def staged(self) -> list[Staging]:
        return [staged(one, self.stage.get(one)) for one in VERSIONS if one in self.stage or one in self.alias]


@given(st.lists(st.tuples(changes, clocks), max_size=12))
def test_whatever_the_clocks_say_a_staging_is_delivered_once_or_superseded_by_one_seen_later(
    looks: list[tuple[list[tuple[str, str, float]], float]],
) -> None:
    registry, cursor = Registry(), EMPTY
    seen_at: dict[str, int] = {}
    ended: dict[str, str] = {}
    before: dict[str, float | None] = {}
    running: list[UnderWay] = []
    keys: list[str] = []
    for number, (people, now) in enumerate(looks):
        for change in people:
            registry.change(*change)
        staged_now = {one.version: one.staged_at for one in registry.staged()}
        cursor, triggers = look(parse_cursor(cursor.model_dump_json()), registry.staged(), now)
        new = {one for one in staged_now if one not in before}
        moved = {
            one
            for one, at in staged_now.items()
            if one in before and at is not None and before[one] is not None and at != before[one]
        }
        assert {one.version for one in triggers} == new | moved
        keys += [one.run_key for one in triggers]
        seen_at |= {one.run_key: number for one in triggers}
        deliver, overtaken = choose(triggers)
        assert {one.version for one in [*deliver, *(two.trigger for two in overtaken)]} == new | moved
        for one in overtaken:
            assert one.trigger.order < one.by.order
            assert one.by in deliver
        if deliver:
            for run in superseded(running, deliver[0]):
                assert seen_at[run.run_id] < number
                ended[run.run_id] = "superseded"
        running = [run for run in running if run.run_id not in ended]
        running += [
            UnderWay(
                run_id=one.run_key, version=one.version, staged_at=one.staged_at, in_production=False, order=one.order
            )
            for one in deliver
        ]
        assert look(cursor, registry.staged(), now - 1)[1] == []
        kept = {one: before.get(one) for one in staged_now if one not in new}
        before = {one: kept.get(one) if at is None else at for one, at in staged_now.items()}
    assert len(keys) == len(set(keys))
