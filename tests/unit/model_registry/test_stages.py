"""What is in a stage is found by a few questions, whatever people, clocks and other servers do meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.model_registry.stages import (
    MOST_ASKED,
    OVERLAP_MILLISECONDS,
    READ_ALL_SECONDS,
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


@dataclass
class Server:
    """A model of MLflow, as its SQL store keeps it, and a look at it that counts what is asked."""

    versions: dict[int, Version] = field(default_factory=dict)
    now: int = START
    changed: int | None = START
    seconds: float = 0.0
    tells_stages: bool = True
    read_all: int = 0
    asked: int = 0
    read: int = 0

    def __post_init__(self) -> None:
        self.watch = Stages(
            cast(Any, self._everything), cast(Any, self._last_changed), cast(Any, self._one), lambda: self.seconds
        )

    def publish(self, count: int = 1) -> None:
        for number in range(len(self.versions) + 1, len(self.versions) + 1 + count):
            self.move(number, "None")

    def move(self, number: int, stage: str, at: int | None = None) -> None:
        self.now += 1
        self.versions[number] = Version(number, stage, at or self.now)
        self.changed = at or self.now

    def look(self, stage: str = "Staging") -> set[int]:
        highest = {one.current_stage: one for one in sorted(self.versions.values(), key=lambda one: one.version)}
        told = [*highest.values()] if self.tells_stages else []
        self.read_all = self.asked = self.read = 0
        return {int(number) for number in self.watch.versions(stage, cast(Any, Model(told, self.changed)))}

    @property
    def truth(self) -> set[int]:
        return self.true("Staging")

    def true(self, stage: str) -> set[int]:
        return {one.version for one in self.versions.values() if one.current_stage == stage}

    def _everything(self) -> list[Version]:
        self.read_all += 1
        return [*self.versions.values()]

    def _last_changed(self) -> Iterator[Version]:
        for one in sorted(self.versions.values(), key=lambda one: -(one.last_updated_timestamp or 1 << 60)):
            self.read += 1
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
        assert (server.read_all, server.read, server.asked) == (0, 0, 0)


def test_one_more_is_found_by_reading_what_was_changed_since_the_last_look() -> None:
    server = served()
    server.look()
    for number in (100, 3, 190):
        server.move(number, "Staging")
        assert server.look() == server.truth
        assert (server.read_all, server.asked) == (0, 0)
        assert server.read <= 5
    server.now += 2 * OVERLAP_MILLISECONDS
    server.move(1, "Archived")
    assert server.look() == {100, 3, 190}
    server.look()
    assert (server.read_all, server.read, server.asked) == (0, 2, 3), "what is remembered, and one that is too old"


def test_the_first_look_reads_all_if_something_is_staged_and_no_later_one_does() -> None:
    server = served()
    server.move(7, "Staging")
    server.move(199, "Staging")
    assert server.look() == {7, 199}
    assert server.read_all == 1
    server.look()
    assert server.read_all == 0


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
    server = served()
    server.move(199, "Staging")
    server.look()
    server.move(7, "Staging", at=START)
    server.move(9, "None")
    assert server.look() == {199}, "behind by more than anybody's clock is"
    server.seconds = READ_ALL_SECONDS + 1
    assert server.look() == {7, 199}
    server.seconds += 10
    server.look()
    assert server.read_all == 0


def test_a_store_that_does_not_tell_when_a_model_was_changed_is_read_whole() -> None:
    server = served(5)
    server.move(2, "Staging")
    server.changed = None
    for _ in range(2):
        assert server.look() == {2}
        assert server.read_all == 1


def test_one_that_does_not_tell_what_is_in_a_stage_is_read_whole_at_first() -> None:
    server = replace(served(5), tells_stages=False)
    server.move(2, "Staging")
    assert server.look() == {2}
    assert server.read_all == 1
    server.move(3, "Staging")
    assert server.look() == {2, 3}
    assert server.read_all == 0


def test_what_bears_no_time_is_looked_at_all_the_same() -> None:
    server = served(5)
    server.move(5, "Staging")
    server.look()
    server.versions[1] = Version(1, "Staging", None)
    assert server.look() == {1, 5}


def test_as_many_as_are_staged_are_not_asked_for_one_by_one() -> None:
    server = served(MOST_ASKED * 3)
    for number in range(1, MOST_ASKED + 3):
        server.move(number, "Staging")
    server.look()
    server.look()
    assert (server.read_all, server.asked) == (1, 0)


def test_reading_all_for_one_stage_tells_of_the_other() -> None:
    server = served()
    server.move(7, "Production")
    server.move(9, "Staging")
    assert server.look() == {9}
    assert server.read_all == 1
    assert server.look("Production") == {7}
    assert server.read_all == 0


moves = st.tuples(
    st.integers(1, 6),
    st.sampled_from(["None", "Staging", "Production", "Archived"]),
    st.integers(0, 2),
    st.sampled_from(["", "Staging", "Production"]),
)


@settings(max_examples=60)
@given(st.lists(moves, max_size=20))
def test_every_look_finds_the_truth(told: list[tuple[int, str, int, str]]) -> None:
    server = Server()
    server.publish(6)
    for number, stage, minutes, looks in told:
        server.now += minutes * OVERLAP_MILLISECONDS
        server.move(number, stage)
        if looks:
            assert server.look(looks) == server.true(looks)
    assert server.look() == server.truth
