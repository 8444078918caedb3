"""The record on disk: whole, locked, and a sentence when it cannot be read."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from banana_delivery.embedded import record
from banana_delivery.embedded.paths import SOCKET_PATH_LIMIT, LocalPaths
from banana_delivery.embedded.record import RecordFile
from banana_delivery.errors import LostRecordError, TargetError
from banana_delivery.files import write_atomically
from banana_delivery.policy.model import Environment, RolloutRecord
from banana_delivery.targets.restoring import Traces

PRODUCTION = Environment.PRODUCTION


@pytest.fixture
def file(tmp_path: Path) -> RecordFile:
    return RecordFile(tmp_path / "production" / "record.json", tmp_path / "copies" / "production.json", PRODUCTION)


def test_changes_that_come_at_once_happen_one_after_the_other(file: RecordFile) -> None:
    def count() -> None:
        for _ in range(5):
            with file.locked() as record:
                file.write(record.replace(generation=record.generation + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert file.read().generation == 20


def test_a_change_that_does_not_end_is_reported(file: RecordFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LOCK_SECONDS", 0.05)

    with file.locked(), pytest.raises(TargetError, match=r"record\.lock"), file.locked():
        pytest.fail("Two held the lock at once.")


@pytest.mark.parametrize("contents", ["{", '{"environment": "production", "no_such_key": 1}', "\udcff"])
def test_a_damaged_record_is_never_taken_for_a_blank_one(tmp_path: Path, contents: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(contents, errors="surrogateescape")

    with pytest.raises(TargetError, match=r"record\.json cannot be read"):
        RecordFile(path, tmp_path / "copy.json", PRODUCTION).read()


def test_a_record_that_cannot_be_written_is_a_sentence_and_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    (path / "in the way").mkdir(parents=True)

    with pytest.raises(TargetError, match=r"cannot be written to .*record\.json"):
        RecordFile(path, tmp_path / "copy.json", PRODUCTION).write(RolloutRecord(environment=PRODUCTION))
    assert list(tmp_path.iterdir()) == [path]


def test_a_copy_that_cannot_be_written_holds_nobody_up_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy.json"
    file = RecordFile(tmp_path / "record.json", copy, PRODUCTION)
    file.write(RolloutRecord(environment=PRODUCTION, generation=1))
    copy.unlink()
    (copy / "in the way").mkdir(parents=True)

    with file.locked() as record:
        file.write(record.replace(generation=2))

    assert file.read().generation == 2
    assert [str(copy) in entry.message for entry in caplog.records] == [True]
    damage = file.damage()
    assert damage and not damage.restored


def test_whoever_removes_the_folder_of_an_environment_leaves_the_copy_of_its_record(tmp_path: Path) -> None:
    paths = LocalPaths(tmp_path)
    place = paths.record(PRODUCTION), paths.record_copy(PRODUCTION)
    file = RecordFile(*place, PRODUCTION)
    with file.locked() as record:
        file.write(record.replace(generation=4, note="x"))

    shutil.rmtree(tmp_path / "environments")

    assert (RecordFile(*place, PRODUCTION).read().note, file.read().generation) == ("x", 4)
    with file.locked() as record:
        file.write(record.replace(note="y"))
    assert place[0].exists() and file.damage() is None


def test_what_was_left_beside_the_record_keeps_the_first_day_from_being_believed(tmp_path: Path) -> None:
    file = RecordFile(
        tmp_path / "record.json", tmp_path / "copy.json", PRODUCTION, lambda: Traces(running=("blue.json",))
    )

    with pytest.raises(LostRecordError, match=r"blue\.json.*banana-delivery restore"):
        file.read()
    with pytest.raises(LostRecordError), file.locked():
        pytest.fail("It was changed.")


def test_a_failed_write_keeps_the_old_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("banana_delivery.files.os.fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_this_user_can_read_what_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "secret")

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_the_socket_stays_short_and_its_own_however_deep_the_home(tmp_path: Path) -> None:
    deep = [tmp_path / ("x" * 120), tmp_path / ("y" * 120)]

    sockets = {LocalPaths(home).socket for home in deep}

    assert len(sockets) == len(deep)
    assert all(len(str(path)) < SOCKET_PATH_LIMIT for path in sockets)
    assert LocalPaths(Path("/home/me/.banana")).socket.is_relative_to("/home/me/.banana")
