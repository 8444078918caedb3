"""What is in a stage is found by a few questions, whatever people, clocks and other servers do meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.errors import RegistryUnreadError
from banana_delivery.model_registry import stages
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.model_registry.stages import (
    ALL_SECONDS,
    MOST_ASKED,
    OVERLAP_MILLISECONDS,
    PART,
    READING_SECONDS,
    Memory,
    Stages,
)

START = 10_000_000


@dataclass(frozen=True)
class Version:
    version: int
    current_stage: str
    last_updated_timestamp: int | None


@dataclass(frozen=True)
class Model:
    latest_versions: list[Version]
    last_updated_timestamp: int | None
    creation_timestamp: int = START


@dataclass
class Server:
    """A model of MLflow, as its SQL store keeps it, and a look at it that counts what is asked."""

    versions: dict[int, Version] = field(default_factory=dict)
    now: int = START
    changed: int | None = START
    seconds: float = 0.0
    tells_stages: bool = True
    seconds_a_part: float = 0.0
    seconds_each: float = 0.0
    address: str = "http://mlflow"
    created: int = START
    parts: int = 0
    asked: int = 0
    read: int = 0

    def __post_init__(self) -> None:
        self.start_anew(None)

    def start_anew(self, memory: Memory | None) -> None:
        self.watch = Stages(
            cast(Any, self._between),
            cast(Any, self._last_changed),
            cast(Any, self._one),
            lambda: max(self.versions, default=0),
            self.address,
            lambda: self.seconds,
        )
        self.watch.recall(memory.model_dump_json() if memory else "")

    def publish(self, count: int = 1) -> None:
        for number in range(len(self.versions) + 1, len(self.versions) + 1 + count):
            self.move(number, "None")

    def move(self, number: int, stage: str, at: int | None = None) -> None:
        self.now += 1
        self.versions[number] = Version(number, stage, at or self.now)
        self.changed = at or self.now

    def look(self) -> set[int]:
        highest = {one.current_stage: one for one in sorted(self.versions.values(), key=lambda one: one.version)}
        told = [*highest.values()] if self.tells_stages else []
        self.parts = self.asked = self.read = 0
        return {int(number) for number in self.watch.staged(cast(Any, Model(told, self.changed, self.created)))}

    @property
    def truth(self) -> set[int]:
        return {one.version for one in self.versions.values() if one.current_stage == "Staging"}

    def _between(self, above: int, upto: int) -> list[Version]:
        self.parts += 1
        self.seconds += self.seconds_a_part
        return [one for number, one in self.versions.items() if above < number <= upto]

    def _last_changed(self) -> Iterator[Version]:
        for one in sorted(self.versions.values(), key=lambda one: -(one.last_updated_timestamp or 1 << 60)):
            self.read += 1
            self.seconds += self.seconds_each
            yield one

    def _one(self, number: str) -> Version | None:
        self.asked += 1
        return self.versions.get(int(number))


def served(count: int = 200) -> Server:
    """So many versions that were published long ago, of which the first one was changed a moment ago."""
    server = Server()
    server.publish(count)
    server.now += 2 * OVERLAP_MILLISECONDS
    server.move(1, "None")
    return server


def test_where_nothing_is_staged_nothing_is_asked_for() -> None:
    server = served()
    for _ in range(3):
        assert server.look() == set()
        assert (server.parts, server.read, server.asked) == (0, 0, 0)


def test_one_more_is_found_by_reading_what_was_changed_since_the_last_look() -> None:
    server = served()
    server.look()
    for number in (100, 3, 190):
        server.move(number, "Staging")
        assert server.look() == server.truth
        assert (server.parts, server.asked) == (0, 0)
        assert server.read <= 5
    server.now += 2 * OVERLAP_MILLISECONDS
    server.move(1, "Archived")
    assert server.look() == {100, 3, 190}
    server.look()
    assert (server.parts, server.read, server.asked) == (0, 2, 3), "what is remembered, and one that is too old"


def test_the_first_look_reads_all_if_something_is_staged_and_no_later_one_does() -> None:
    server = served()
    server.move(7, "Staging")
    server.move(199, "Staging")
    assert server.look() == {7, 199}
    assert server.parts == 1
    server.look()
    assert server.parts == 0


def test_what_left_or_was_deleted_is_not_staged_any_more() -> None:
    server = served(10)
    for number in (1, 2, 3):
        server.move(number, "Staging")
    server.look()
    server.move(3, "Production")
    del server.versions[1]
    assert server.look() == {2}


def test_a_clock_that_was_set_back_and_another_servers_that_is_behind_hide_nothing() -> None:
    server = served()
    server.move(199, "Staging")
    server.look()
    server.move(7, "Staging", at=server.now - 3 * OVERLAP_MILLISECONDS)
    assert server.look() == {7, 199}
    server.move(8, "Staging", at=server.now - OVERLAP_MILLISECONDS // 2)
    server.move(9, "None")
    assert server.look() == {7, 8, 199}


def test_what_was_missed_all_the_same_is_found_within_the_hour() -> None:
    server = served(10 * PART)
    server.move(10 * PART, "Staging")
    server.look()
    server.move(7, "Staging", at=START)
    server.move(9, "None")
    assert server.look() == {10 * PART}, "behind by more than anybody's clock is"
    looks = 0
    while server.look() != server.truth:
        assert server.parts <= 1
        server.seconds, looks = server.seconds + 5, looks + 1
    assert looks * 5 <= ALL_SECONDS
    server.seconds += 5
    server.look()
    assert server.parts == 0


def test_many_versions_are_read_at_several_looks_and_nothing_is_said_before_all_are() -> None:
    server = served(20 * PART)
    server.seconds_a_part = 0.4
    for number in (3, 20 * PART):
        server.move(number, "Staging")
    looks = 1
    with pytest.raises(RegistryUnreadError, match="up to 4,000"):
        server.look()
    server.move(5, "Staging")  # Read or unread by now, it is found.
    server.move(20 * PART - 5, "Staging")
    while True:
        try:
            found = server.look()
            break
        except RegistryUnreadError:
            looks += 1
            assert server.parts <= 1 + READING_SECONDS / server.seconds_a_part
    assert found == server.truth
    assert looks == 6
    server.look()
    assert server.parts == 0


def test_a_look_that_failed_goes_on_where_it_ended() -> None:
    server = served(4 * PART)
    server.move(4 * PART, "Staging")
    server.move(3, "Staging")
    between, server.seconds_a_part = server._between, 2 * READING_SECONDS
    with pytest.raises(RegistryUnreadError):
        server.look()
    server.watch._between = cast(Any, fail)
    with pytest.raises(ConnectionError):
        server.look()
    server.watch._between, server.seconds_a_part = cast(Any, between), 0.0
    assert server.look() == server.truth
    assert server.parts == 3


def fail(*_: int) -> list[Version]:
    raise ConnectionError


def test_another_process_goes_on_with_what_was_remembered_however_late() -> None:
    server = served(4 * PART)
    server.move(4 * PART, "Staging")
    server.move(3, "Staging")
    server.look()
    memory = server.watch.memory
    server.move(5, "Staging")
    server.now += 5 * OVERLAP_MILLISECONDS
    server.move(3, "None")
    server.start_anew(memory)
    assert server.look() == server.truth == {5, 4 * PART}
    assert server.parts == 0


def test_what_was_remembered_of_another_model_of_the_name_counts_for_nothing() -> None:
    server = served(3)
    server.move(3, "Staging")
    server.look()
    server.created += 1
    server.versions[1] = Version(1, "Staging", START)
    assert server.look() == {1, 3}


def test_what_was_remembered_of_another_server_counts_for_nothing_be_it_a_copy() -> None:
    server = served(3)
    server.move(3, "Staging")
    server.look()
    memory, server.address = server.watch.memory, "http://copy"
    server.versions[1] = Version(1, "Staging", START)
    server.start_anew(memory)
    assert server.watch.memory is None
    assert server.look() == {1, 3}
    server.start_anew(server.watch.memory)
    assert server.look() == {1, 3}
    assert server.parts == 0, "its own it goes on with"


@pytest.mark.parametrize(
    ("tracking", "registry", "is_another"),
    [
        ("http://ada:secret@mlflow:5000/", "", False),
        ("http://mlflow:5001", "", True),
        ("http://mlflow:5001", "http://mlflow:5000", False),
        ("http://mlflow:5000", "http://registry:5000", True),
    ],
)
def test_a_server_is_known_by_the_address_of_its_registry(
    monkeypatch: pytest.MonkeyPatch, tracking: str, registry: str, is_another: bool
) -> None:
    server = replace(served(3), address="http://mlflow:5000")
    server.look()
    assert server.watch.memory
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    later = MlflowRegistry("detector", tracking)
    later.recall(server.watch.memory.model_dump_json())
    assert (later.memory == "") is is_another
    assert "secret" not in later.memory


@pytest.mark.parametrize("spoiled", ["", "soon", '{"created": 1, "at": 1, "unread": 0, "whole": true}'])
def test_what_is_no_memory_or_of_nobody_knows_whose_server_is_none(spoiled: str) -> None:
    server = served(3)
    server.watch.recall(spoiled)
    assert server.watch.memory is None


def test_a_bulk_import_makes_no_look_long_and_hides_nothing() -> None:
    server = served(5 * PART)
    server.move(7, "Staging")
    server.look()
    server.publish(10 * PART)
    server.move(9, "Staging")
    server.move(5 * PART + 3, "Staging")
    server.seconds_each, server.seconds_a_part = 0.002, 0.4
    with pytest.raises(RegistryUnreadError, match="nothing newly staged"):
        server.look()
    looks, found = 1, set[int]()
    while not found:
        assert server.read * server.seconds_each <= READING_SECONDS + 0.01
        assert server.parts <= 1 + READING_SECONDS / server.seconds_a_part
        looks += 1
        with suppress(RegistryUnreadError):
            found = server.look()
    assert found == server.truth == {7, 9, 5 * PART + 3}
    assert looks == 5
    server.move(11, "Staging")
    assert server.look() == server.truth, "at once, though as much as ever was changed within minutes"
    assert (server.parts, server.read * server.seconds_each <= READING_SECONDS + 0.01) == (0, True)


@pytest.mark.parametrize("time", ["ahead", "none", "one"])
def test_more_than_a_look_may_read_that_seems_to_be_of_later_keeps_nothing_waiting_for_ever(time: str) -> None:
    """As after a bulk import, where the server's clock is set back an hour, or all of it was written at one moment."""
    server = served(3 * PART)
    server.move(7, "Staging")
    server.look()
    server.publish(5 * PART)
    if time == "ahead":
        server.now -= 3_600_000
    server.move(9, "Staging")
    if time != "ahead":
        for number in range(3 * PART + 1, 8 * PART + 1):
            moved = server.now if time == "one" else None
            server.versions[number] = replace(server.versions[number], last_updated_timestamp=moved)
    server.seconds_each, server.seconds_a_part = 0.01, 0.4
    looks, found = 0, set[int]()
    while not found and looks < 10:
        looks += 1
        with suppress(RegistryUnreadError):
            found = server.look()
    assert found == server.truth == {7, 9}
    server.move(11, "Staging")
    seen: list[set[int]] = []
    for _ in range(20):
        with suppress(RegistryUnreadError):
            seen.append(server.look())
    assert server.truth in seen, "what was moved after its part was read is found when that is read again"
    assert all(found <= one for one in seen), "and what is staged does not come and go"


def test_a_server_that_is_slow_tells_one_part_of_what_was_changed_at_each_look() -> None:
    server = served(PART)
    server.move(7, "Staging")
    server.look()
    server.seconds_each = READING_SECONDS / 2
    for number in range(10, 10 + PART // 2):
        server.move(number, "Staging")
    assert server.look() == server.truth
    assert server.parts == 0


def test_a_store_that_does_not_tell_when_a_model_was_changed_is_read_whole() -> None:
    server = served(5)
    server.move(2, "Staging")
    server.changed = None
    for _ in range(2):
        assert server.look() == {2}
        assert server.parts == 1


def test_one_that_does_not_tell_what_is_in_a_stage_is_read_whole_at_first() -> None:
    server = replace(served(5), tells_stages=False)
    server.move(2, "Staging")
    assert server.look() == {2}
    assert server.parts == 1
    server.move(3, "Staging")
    assert server.look() == {2, 3}
    assert server.parts == 0


def test_what_bears_no_time_is_looked_at_all_the_same() -> None:
    server = served(5)
    server.move(5, "Staging")
    server.look()
    server.versions[1] = Version(1, "Staging", None)
    assert server.look() == {1, 5}


def test_as_many_as_are_staged_are_not_asked_for_one_by_one() -> None:
    server = served(2 * PART)
    for number in range(1, MOST_ASKED + 2):
        server.move(number, "Staging")
    server.move(2 * PART, "Staging")
    server.look()
    server.now += 2 * OVERLAP_MILLISECONDS
    server.move(PART, "None")
    server.look()
    assert server.look() == server.truth
    assert (server.parts, server.asked) == (1, 1)


def test_one_that_left_while_it_was_looked_for_has_nothing_read_again() -> None:
    server = served()
    server.move(7, "Staging")
    server.look()
    server.watch._one = cast(Any, lambda number: Version(int(number), "None", server.now))
    server.watch._last_changed = cast(Any, lambda: iter([]))
    assert server.look() == set()
    assert server.parts == 0


moves = st.tuples(
    st.integers(1, 6),
    st.sampled_from(["None", "Staging", "Production", "Archived"]),
    st.integers(0, 2),
    st.sampled_from(["", "look", "another process"]),
)


@settings(max_examples=60)
@given(st.lists(moves, max_size=20))
def test_every_look_finds_the_truth(told: list[tuple[int, str, int, str]]) -> None:
    server = Server()
    server.publish(6)
    for number, stage, minutes, looks in told:
        server.now += minutes * OVERLAP_MILLISECONDS
        server.move(number, stage)
        if looks == "another process":
            server.start_anew(server.watch.memory)
        if looks:
            assert server.look() == server.truth
    assert server.look() == server.truth


@settings(max_examples=60)
@given(st.lists(moves, max_size=20))
def test_however_little_a_look_may_read_it_says_the_truth_or_nothing(told: list[tuple[int, str, int, str]]) -> None:
    server = Server()
    server.publish(6)
    server.seconds_each = server.seconds_a_part = READING_SECONDS
    with patch.object(stages, "PART", 2):
        for number, stage, minutes, looks in told:
            server.now += minutes * OVERLAP_MILLISECONDS
            server.move(number, stage)
            if looks == "another process":
                server.start_anew(server.watch.memory)
            with suppress(RegistryUnreadError):
                assert not looks or server.look() == server.truth
        for _ in range(len(server.versions)):
            with suppress(RegistryUnreadError):
                assert server.look() == server.truth
                return
    raise AssertionError("nothing is said, though nothing moves any more")
