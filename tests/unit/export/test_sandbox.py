from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.errors import ExportError, NotADetectorError
from banana_delivery.export import sandbox
from tests import ROOT
from tests.unit.export.odd_worker import Order, Told


@pytest.fixture(autouse=True)
def _worker_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The odd worker is no part of the product; a child imports what its parent was told."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(behaviour: str, scratch: Path, timeout: float = 30.0) -> Told:
    return sandbox.run("tests.unit.export.odd_worker", Order(behaviour=behaviour), Told, scratch, timeout)


def test_no_secret_is_passed_on_and_everything_is_written_in_the_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "BANANA_NOTIFY_URLS", "PGPASSWORD", "MY_TOKEN"):
        monkeypatch.setenv(name, "a secret")
    told = run("answer", tmp_path)
    assert "a secret" not in told.environment.values()
    assert told.directory == str(tmp_path)
    for name in ("HOME", "TMPDIR", "YOLO_CONFIG_DIR"):
        assert told.environment[name] == str(tmp_path)
    assert told.environment["YOLO_AUTOINSTALL"] == "false"
    assert told.environment["ULTRALYTICS_SAFE_LOAD"] == "true"


def test_a_rejection_arrives_as_what_it_was(tmp_path: Path) -> None:
    with pytest.raises(NotADetectorError, match=r"^It only tells cats from dogs\.$"):
        run("reject", tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("crash", r"odd_worker failed with exit code 1 \(ValueError: out of cheese\)"),
        ("die", "was killed, most likely for want of memory"),
        ("end", r"odd_worker was ended by signal 15 \(.*\): try again\."),
        ("eat", "MemoryError"),
    ],
)
def test_a_death_is_no_rejection(tmp_path: Path, behaviour: str, sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        run(behaviour, tmp_path)


def test_a_process_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="did not finish within 2 s"):
        run("hang", tmp_path, timeout=2.0)


@pytest.fixture
def silence() -> Iterator[int]:
    """A handle of which nothing is heard, as of a process that does not end."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(("sizes", "looks"), [([0], 1), ([1, 2, 3, 3], 4)])
def test_a_process_that_gets_on_has_more_time_and_one_that_does_not_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence: int, sizes: list[int], looks: int
) -> None:
    seen = iter(sizes)
    monkeypatch.setattr(sandbox, "_size", lambda _: next(seen))
    assert not sandbox._ends(silence, tmp_path / "progress", sandbox.Limits(whole=60.0, quiet=0.01))
    assert next(seen, None) is None, f"it looked less than {looks} times"


def test_getting_on_for_ever_buys_no_more_than_the_whole_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence: int
) -> None:
    sizes = iter(range(1, 10**6))
    monkeypatch.setattr(sandbox, "_size", lambda _: next(sizes))
    assert not sandbox._ends(silence, tmp_path / "progress", sandbox.Limits(whole=0.05, quiet=0.01))


def test_a_step_that_is_done_is_seen(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    before = sandbox._size(progress)
    sandbox.get_on(progress)
    assert sandbox._size(progress) > before
    sandbox.get_on(None)


def test_who_takes_too_long_for_a_step_is_told_what_to_set(tmp_path: Path) -> None:
    order = Order(behaviour="hang")
    with pytest.raises(ExportError, match=r"0 s for one step: .*BANANA_EXPORT_SECONDS"):
        sandbox.run("tests.unit.export.odd_worker", order, Told, tmp_path, 60.0, 0.01)
