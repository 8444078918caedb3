"""How long something has looked the same: only one machine's own clock counts, and only what it saw."""

from __future__ import annotations

from banana_delivery.policy.sightings import Sighting, look

Look = tuple[str, str, float]


def lasted(*looks: Look) -> float:
    seen: Sighting | None = None
    for sign, boot, monotonic in looks:
        seen = look(seen, sign, boot, monotonic)
    assert seen is not None
    return seen.lasted


def test_one_look_proves_nothing() -> None:
    assert lasted(("beat 7", "boot", 5000.0)) == 0.0


def test_two_looks_at_the_same_prove_the_time_between_them() -> None:
    assert lasted(("beat 7", "boot", 10.0), ("beat 7", "boot", 12.0), ("beat 7", "boot", 31.0)) == 21.0


def test_another_sign_begins_anew() -> None:
    assert lasted(("beat 7", "boot", 10.0), ("beat 8", "boot", 30.0), ("beat 8", "boot", 31.0)) == 1.0


def test_the_time_of_a_restart_of_the_observers_machine_is_not_known() -> None:
    assert lasted(("beat 7", "one", 10.0), ("beat 7", "one", 15.0), ("beat 7", "two", 900.0)) == 5.0
    assert lasted(("beat 7", "one", 900.0), ("beat 7", "two", 3.0), ("beat 7", "two", 7.0)) == 4.0


def test_a_clock_that_says_less_than_before_takes_nothing_away() -> None:
    assert lasted(("beat 7", "boot", 10.0), ("beat 7", "boot", 15.0), ("beat 7", "boot", 1.0)) == 5.0


def test_observers_on_two_machines_that_share_a_memory_add_nothing_to_each_other() -> None:
    looks = [("beat 7", "ab"[number % 2], 1e6 * (number % 2) + number) for number in range(100)]
    assert lasted(*looks) == 0.0
