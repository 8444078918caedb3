"""What a run printed is shown by another machine that has the volume alone, while it lasts and after its end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from banana_delivery.runs.output import on_volume
from banana_delivery.runs.output.on_volume import VolumeComputeLogs
from banana_delivery.waiting import wait_until

KEY = ("run-1", "compute_logs", "step")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


def machine(volume: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> VolumeComputeLogs:
    """One that has the volume, and scratch space of its own."""
    scratch.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(scratch))
    return VolumeComputeLogs(str(volume), copy_seconds=1)


def shown(logs: VolumeComputeLogs) -> bytes:
    return logs.get_log_data(KEY).stdout or b""


def test_what_was_printed_is_shown_elsewhere_once_the_step_is_over(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = machine(volume, tmp_path / "pages", monkeypatch)
    assert (shown(pages), pages.is_capture_complete(KEY)) == (b"", False)
    run = machine(volume, tmp_path / "run", monkeypatch)

    with run.open_log_stream(KEY, ComputeIOType.STDOUT) as stream:
        assert stream is not None
        stream.write("from the run\n")

    assert (shown(pages), pages.is_capture_complete(KEY)) == (b"from the run\n", True)
    assert pages.get_log_metadata(KEY).stdout_location == str(volume / "run-1" / "compute_logs" / "step.out")
    assert not list((tmp_path / "pages").rglob("*.out"))  # The pages keep no copy of it.


def test_what_a_run_printed_before_it_was_killed_is_shown(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = machine(volume, tmp_path / "pages", monkeypatch)
    run = machine(volume, tmp_path / "run", monkeypatch)
    printed = Path(run.local_manager.get_captured_local_path(KEY, "out"))
    printed.parent.mkdir(parents=True)

    for text in ("one\n", "one\ntwo\n"):
        printed.write_text(text)
        run.on_progress(KEY)  # type: ignore[no-untyped-call]
        assert (shown(pages).decode(), pages.is_capture_complete(KEY)) == (text, False)


def test_a_volume_that_takes_nothing_costs_the_copy_and_no_step(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    volume.write_text("no folder")
    run = machine(volume, tmp_path / "run", monkeypatch)

    with run.open_log_stream(KEY, ComputeIOType.STDOUT) as stream:
        assert stream is not None
        stream.write("all the same\n")

    assert "is not kept on the volume" in caplog.text
    run.delete_logs(log_key=KEY)


def test_a_volume_that_hangs_costs_the_copy_and_keeps_no_run(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = machine(volume, tmp_path / "run", monkeypatch)
    pages = machine(volume, tmp_path / "pages", monkeypatch)
    answers, copy = threading.Event(), run._copy

    def hang(*parts: Any) -> None:
        assert answers.wait(30)
        copy(*parts)

    monkeypatch.setattr(run, "_copy", hang)
    monkeypatch.setattr(on_volume, "LAST_SECONDS", 0.05)
    with run.open_log_stream(KEY, ComputeIOType.STDOUT) as stream:
        assert stream is not None
        stream.write("all the same\n")
    assert "the run ends without" in caplog.text
    answers.set()
    done = (lambda: pages.is_capture_complete(KEY), 10.0, lambda _: AssertionError("it was never copied"))
    wait_until(*done, pause=0.01)
    assert shown(pages) == b"all the same\n"


def test_a_step_that_prints_more_than_is_kept_is_over_when_it_is_over(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_TRUNCATE_COMPUTE_LOGS_UPLOAD_BYTES", "8")
    pages, run = (machine(volume, tmp_path / name, monkeypatch) for name in ("pages", "run"))
    with run.open_log_stream(KEY, ComputeIOType.STDERR) as stream:
        assert stream is not None
        stream.write("0123456789")
        stream.flush()
        run.on_progress(KEY)  # type: ignore[no-untyped-call]
        assert (pages.get_log_data(KEY).stderr, pages.is_capture_complete(KEY)) == (b"01234567", False)
    assert (pages.get_log_data(KEY).stderr, pages.is_capture_complete(KEY)) == (b"01234567", True)


def test_it_lies_where_retention_looks(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Dagster's own manager lays it out, which the embedded stack has."""
    run = machine(volume, tmp_path / "run", monkeypatch)
    dagsters = LocalComputeLogManager(str(volume))
    assert run.display_path_for_type(KEY, ComputeIOType.STDERR) == dagsters.get_captured_local_path(KEY, "err")
    with run.open_log_stream(KEY, ComputeIOType.STDERR) as stream:
        assert stream is not None
    run.delete_logs(log_key=KEY)
    assert not list(volume.rglob("*.err"))
