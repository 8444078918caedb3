from __future__ import annotations

from banana_delivery.policy.staged_versions import (
    Cursor,
    Staging,
    Trigger,
    UnderWay,
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
    by = Trigger(version="5", staged_at=100.0, run_key="5")
    earlier = UnderWay(run_id="earlier", version="9", staged_at=90.0, in_production=False)
    same_version = earlier.replace(run_id="same", version="5")
    later = earlier.replace(run_id="later", staged_at=110.0)
    in_production = earlier.replace(run_id="in production", in_production=True)
    assert superseded([earlier, same_version, later, in_production], by) == [earlier]
