from __future__ import annotations

import os
from pathlib import Path

import pytest

from banana_delivery.delivery.publish_outcome import PendingMarks
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome


def attempt(version: str, at: float) -> AttemptRecord:
    return AttemptRecord(version=version, outcome=Outcome.REJECTED, reason="It is worse.", at=at)


@pytest.fixture
def untold(tmp_path: Path) -> PendingMarks:
    return PendingMarks(tmp_path / "untold")


def test_it_outlives_the_process(tmp_path: Path) -> None:
    PendingMarks(tmp_path).remember(attempt("7", 1.0))
    assert PendingMarks(tmp_path).attempts() == [attempt("7", 1.0)]


@pytest.mark.parametrize("order", [(1.0, 2.0), (2.0, 1.0)])
def test_the_latest_attempt_at_a_version_is_kept_whoever_comes_first(
    untold: PendingMarks, order: tuple[float, ...]
) -> None:
    for at in order:
        untold.remember(attempt("7", at))
    assert untold.attempts() == [attempt("7", 2.0)]


def test_only_an_attempt_at_least_as_late_makes_it_forgotten(untold: PendingMarks) -> None:
    untold.remember(attempt("7", 2.0))
    untold.forget(attempt("7", 1.0))
    untold.forget(attempt("8", 3.0))
    assert untold.attempts() == [attempt("7", 2.0)]
    untold.forget(attempt("7", 2.0))
    assert untold.attempts() == []


def test_what_fails_again_is_the_last_in_turn(untold: PendingMarks, tmp_path: Path) -> None:
    for age, version in enumerate("123"):
        untold.remember(attempt(version, 1.0))
        os.utime(tmp_path / "untold" / f"{version}.json", (age, age))
    untold.remember(attempt("1", 1.0))
    assert [one.version for one in untold.attempts()] == ["2", "3", "1"]


def test_a_name_that_is_a_path_stays_inside(untold: PendingMarks, tmp_path: Path) -> None:
    untold.remember(attempt("../../7", 1.0))
    assert [one.version for one in untold.attempts()] == ["../../7"]
    assert [path.name for path in tmp_path.iterdir()] == ["untold"]


def test_a_file_that_cannot_be_read_is_removed_and_stops_nobody(untold: PendingMarks, tmp_path: Path) -> None:
    untold.remember(attempt("7", 1.0))
    (tmp_path / "untold" / "8.json").write_text("{")
    assert untold.attempts() == [attempt("7", 1.0)]
    assert [path.name for path in (tmp_path / "untold").iterdir()] == ["7.json"]
