"""People are told of a disk that fills, once, and a delivery that has no room is refused in one sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from banana_delivery.delivery.upkeep.room import GIB, LEAST_DELIVERY_BYTES, Room
from banana_delivery.errors import NoRoomError
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.settings import Settings

TOO_MUCH = 1 << 42
"""Bytes of a model, which a sparse file claims to be; more than the disk has."""


def room(home: Path, least_free_gib: float) -> Room:
    return Room(Settings(home=home, model_name="leaves", least_free_gib=least_free_gib))


def huge_model(home: Path) -> Path:
    model = home / "artifacts" / "leaves" / "7" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.touch()
    os.truncate(model, TOO_MUCH)
    return model


def above_what_is_free(home: Path) -> float:
    return 2 * shutil.disk_usage(home).free / GIB


def test_people_are_told_once_that_the_disk_fills_however_often_somebody_looks(tmp_path: Path) -> None:
    notifier = Notifier(tmp_path / "notifications.jsonl")
    filling = room(tmp_path, above_what_is_free(tmp_path))

    said = [filling.look(notifier.send) for _ in range(5)]

    (told,) = notifier.sent()
    assert told.urgency is Urgency.ASKS
    assert "banana-delivery prune --delete" in told.body
    assert all(str(tmp_path) in one for one in said)


def test_once_there_was_room_again_the_next_time_is_told_anew(tmp_path: Path) -> None:
    notifier = Notifier(tmp_path / "notifications.jsonl")
    filling, plenty = room(tmp_path, above_what_is_free(tmp_path)), room(tmp_path, 0.0)

    filling.look(notifier.send)
    assert plenty.look(notifier.send) == ""
    filling.look(notifier.send)

    assert len(notifier.sent()) == 2


def test_people_are_told_urgently_once_deliveries_are_refused(tmp_path: Path) -> None:
    told: list[Notice] = []
    huge_model(tmp_path)

    room(tmp_path, 1.0).look(told.append)

    assert [one.urgency for one in told] == [Urgency.URGENT]
    assert "NO ROOM" in told[0].title


def test_nobody_is_told_who_did_not_want_to_be(tmp_path: Path) -> None:
    told: list[Notice] = []
    huge_model(tmp_path)

    assert room(tmp_path, 0.0).look(told.append) == ""
    assert told == []


def test_a_delivery_without_room_is_refused_in_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    huge_model(tmp_path)
    tried: list[bool] = []

    with pytest.raises(
        NoRoomError, match=r"A delivery takes about .* MiB and .* MiB are free in .*; nothing was"
    ) as no:
        room(tmp_path, 0.0).refuse_if_none(lambda: tried.append(True))

    assert "banana-delivery prune" in str(no.value)
    assert tried == [True]


def test_what_old_deliveries_left_makes_room_before_a_delivery_is_refused(tmp_path: Path) -> None:
    model = huge_model(tmp_path)

    with pytest.raises(NoRoomError):
        room(tmp_path, 0.0).refuse_if_none(lambda: None)
    room(tmp_path, 0.0).refuse_if_none(model.unlink)


def test_with_room_nothing_is_removed_for_it(tmp_path: Path) -> None:
    def never() -> None:
        raise AssertionError

    room(tmp_path / "not" / "there" / "yet", 2.0).refuse_if_none(never)
    assert room(tmp_path, 2.0).needed == LEAST_DELIVERY_BYTES


def test_five_deliveries_are_wanted_free_where_that_is_more_than_the_setting(tmp_path: Path) -> None:
    huge_model(tmp_path)
    here = room(tmp_path, 2.0)

    assert here.wanted == 5 * here.needed > 2 * GIB
