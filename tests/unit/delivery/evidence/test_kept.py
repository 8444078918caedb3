"""Looks are kept within bounds, and what cannot be kept ends no release."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from banana_delivery.delivery.evidence import kept
from banana_delivery.delivery.evidence.kept import keep_beside, kept_steps, look_book
from banana_delivery.policy.rollout.decision import StepVerdict
from tests.unit.policy.rollout.scene import DIGEST, GREEN, USER, Scene


def step(home: Path, looks: int, run: str = "run-1") -> None:
    scene, book = Scene(), look_book(home, run)
    book.begin(scene.state, GREEN, DIGEST, (), {}, overridden=False, first=False)
    for number in range(looks):
        scene.serve(GREEN, USER, 10)
        scene.look()
        book.add(scene.snapshot(), paused=number == 0, own={})
    book.end(StepVerdict.PASS, scene.action())


def test_steps_are_read_back_once_there_is_a_report(tmp_path: Path) -> None:
    step(tmp_path, 5)
    step(tmp_path, 3)
    report = tmp_path / "reports" / "version-7-1-released.html"
    keep_beside(report, tmp_path, "run-1")
    keep_beside(report, tmp_path, "run-1")
    keep_beside(report, tmp_path, "")
    steps = kept_steps(report)
    assert [len(one.looks) for one in steps] == [5, 3]
    assert [look.paused for look in steps[0].looks] == [True, False, False, False, False]
    assert [one.end.verdict for one in steps if one.end] == [StepVerdict.PASS] * 2
    assert kept_steps(tmp_path / "other.html") == []


def test_too_many_looks_are_cut_and_too_large_a_file_grows_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_STEP_BYTES", 1500)
    step(tmp_path, 200)
    report = tmp_path / "version-7-1-released.html"
    size = look_book(tmp_path, "run-1").file.stat().st_size
    monkeypatch.setattr(kept, "MOST_FILE_BYTES", 100)
    step(tmp_path, 1)
    assert look_book(tmp_path, "run-1").file.stat().st_size == size
    keep_beside(report, tmp_path, "run-1")
    [one] = kept_steps(report)
    assert len(one.looks) < 20
    assert one.end is not None
    assert one.end.cut


def test_a_home_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "looks").write_text("a file")
    step(tmp_path, 1)
    keep_beside(tmp_path / "report.html", tmp_path, "run-1")
    assert "could not be kept" in caplog.text


def test_a_file_of_a_later_version_is_said_to_be_one(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    (tmp_path / "report.looks.gz").write_bytes(gzip.compress(b'["step", {"schema": 99, "what": 1}]'))
    with pytest.raises(ValueError, match="kept by another version, or is damaged"):
        kept_steps(report)


@pytest.mark.parametrize("at", [0, 10, 20], ids=["its first bytes", "how it is packed", "what is packed"])
def test_a_file_that_is_damaged_is_said_to_be_unreadable(tmp_path: Path, at: int) -> None:
    report = tmp_path / "report.html"
    whole = gzip.compress(b'["step", {"schema": 1}]' * 9)
    (tmp_path / "report.looks.gz").write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
    with pytest.raises(ValueError, match="cannot be read"):
        kept_steps(report)
