"""The files of runs: whose stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banana_delivery.embedded.output import run_log
from banana_delivery.embedded.output.run_log import RunLog, remove_old


def test_of_files_that_nobody_prints_into_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "KEPT_RUNS", 3)
    monkeypatch.setattr(run_log, "STREAMS", ())
    of_somebody = tmp_path / "notes.log"
    of_somebody.touch()
    running = RunLog.begin(tmp_path)
    os.utime(running.path, (1, 1))
    for number in range(5):
        ended = tmp_path / f"20260101-000000-{number}.log"
        ended.touch()
        os.utime(ended, (100 + number, 100 + number))
    remove_old(tmp_path)

    left = {path.name for path in tmp_path.iterdir()}
    assert left == {running.path.name, "notes.log", *(f"20260101-000000-{number}.log" for number in (2, 3, 4))}
    for descriptor in running.descriptors:
        os.close(descriptor)
    remove_old(tmp_path)
    assert not running.path.exists() and of_somebody.exists()


def test_a_pipe_that_takes_no_more_keeps_nobody_who_prints() -> None:
    """One that a library lets the streams lead to, and does not read."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    printing = run_log._printing(write)
    print("x" * 10_000_000, file=printing)
    print("y", file=printing, flush=True)
    printing.detach()
    assert len(os.read(read, 10_000_000)) < 10_000_000
    for end in (read, write):
        os.close(end)
