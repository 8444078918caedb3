"""How the memory of processes is watched while sensors tick, and what is said of it."""

from __future__ import annotations

from itertools import chain, count, repeat

import pytest

from benchmarks.daemon.memory import PROCESSES, STANDSTILL_SECONDS, figures, table, watch


def test_it_is_looked_at_until_there_were_enough_ticks() -> None:
    ticks, kib = iter([3, 6, 9]), count(100)
    slept: list[float] = []
    samples = watch({"daemon": lambda: next(kib)}, lambda: next(ticks), 7, slept.append)
    assert samples == {"daemon": [(3, 100), (6, 101), (9, 102)]}
    assert len(slept) == 3


def test_sensors_that_stand_still_end_it() -> None:
    ticks = chain([1, 2], repeat(2))
    with pytest.raises(RuntimeError, match="No sensor has ticked for 120 s; 2 ticks"):
        watch({}, lambda: next(ticks), 10, lambda _: None)
    assert STANDSTILL_SECONDS == 120


def test_what_a_process_loads_at_first_is_no_growth() -> None:
    found = figures([(ticks, 1024.0 * min(ticks, 25)) for ticks in range(101)])
    assert found.pop("samples")[:2] == [[0, 0], [1, 1024]]
    assert found == {
        "ticks": 100,
        "warm_kib": 25_600,
        "last_kib": 25_600,
        "kib": {"per_tick": 0.0, "low": 0.0, "high": 0.0},
    }
    shown = table({"seconds": 90, **dict.fromkeys(PROCESSES, found)})
    assert "| code-server | 25.0 | 25.0 | 0.00 (0.00 to 0.00) |" in shown
    assert "100 ticks in 90 s." in shown
