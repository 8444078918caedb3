"""A process is known by the start of its machine and its own start tick: not by its pid, and by no date."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from banana_delivery.runs import lifecycle
from banana_delivery.runs.lifecycle import identity, is_gone


@pytest.fixture
def signed() -> str:
    """What this process signs in with for a run."""
    return identity("run", psutil.Process())


def test_a_process_that_lives_is_there(signed: str) -> None:
    assert not is_gone("run", signed)


def test_a_step_of_the_clock_gives_no_process_another_name(signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The date of a start is counted from a boot time that the kernel corrects with every step."""
    created = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: created + 1)

    assert identity("run", psutil.Process()) == signed
    assert not is_gone("run", signed)


def test_a_pid_that_is_used_again_is_another_process(signed: str) -> None:
    before, tick = signed.rsplit(":", 1)

    assert is_gone("run", f"{before}:{int(tick) - 1}")


def test_no_process_outlives_its_machines_restart(signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "boot_id", lambda: "the start after")

    assert is_gone("run", signed)


def test_what_is_on_another_host_cannot_be_seen_from_here(signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "boot_id", lambda: "another machine's")
    run, _, *rest = signed.split(":")

    assert not is_gone("run", ":".join((run, "elsewhere", *rest)))


def test_a_tag_that_was_copied_from_another_run_says_nothing(signed: str) -> None:
    assert not is_gone("another run", signed)


def test_a_process_that_ended_is_gone_even_before_its_parent_takes_notice() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        known = identity("run", psutil.Process(process.pid))
        deadline = time.monotonic() + 30
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert is_gone("run", known)
    assert is_gone("run", known)


def test_a_program_may_be_called_as_it_likes(tmp_path: Path) -> None:
    """Its name stands in the line in which its start tick does."""
    sleep = shutil.which("sleep")
    assert sleep
    program = tmp_path / ") R 1 (2"
    shutil.copy(sleep, program)
    with subprocess.Popen([program, "60"]) as process:
        known = identity("run", psutil.Process(process.pid))
        alive = not is_gone("run", known)
        process.kill()

    assert alive
    assert is_gone("run", known)


@pytest.mark.parametrize("seconds", [-3600, -1, 0, 1, 3600])
def test_a_process_that_signed_in_as_earlier_versions_did_is_not_gone_because_of_a_date(
    signed: str, seconds: int
) -> None:
    run, host, pid, *_ = signed.split(":")
    date = psutil.Process().create_time() + seconds

    assert not is_gone("run", f"{run}:{host}:{pid}:{date:.0f}")


def test_a_process_that_signed_in_as_earlier_versions_did_is_gone_with_its_pid() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        run, host, pid, *_ = identity("run", psutil.Process(process.pid)).split(":")

    assert is_gone("run", f"{run}:{host}:{pid}:1700000000")
