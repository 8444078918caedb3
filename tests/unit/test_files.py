from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from banana_delivery import files
from banana_delivery.embedded import record
from banana_delivery.embedded.record import RecordFile
from banana_delivery.embedded.stack import EmbeddedStack
from banana_delivery.errors import BananaDeliveryError, FileLockedError, ImageError, StackError, TargetError
from banana_delivery.files import (
    bytes_digest,
    file_digest,
    file_sha256,
    lock,
    replacing,
    temporary_file,
    text_sha256,
    write_atomically,
)
from banana_delivery.images.oci_layout import blobs
from banana_delivery.images.oci_layout.blobs import LayoutFiles
from banana_delivery.notifications import notifier, outbox
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.model import Environment
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.settings import Settings

HOLDER = """
import sys
from pathlib import Path
from banana_delivery.files import lock
with lock(Path(sys.argv[1]), 5.0, "It"):
    print("held", flush=True)
    sys.stdin.read()
"""
NOTICE = Notice(key="one", title="Version 7 is out.", body="It serves.", urgency=Urgency.NORMAL)


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has taken a lock and keeps it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_hashes_are_those_of_the_contents(tmp_path: Path) -> None:
    file = tmp_path / "leaf"
    file.write_bytes(b"leaf")
    expected = hashlib.sha256(b"leaf").hexdigest()

    assert file_sha256(file) == text_sha256("leaf") == expected
    assert file_digest(file) == bytes_digest(b"leaf") == f"sha256:{expected}"


def test_a_reader_finds_the_old_contents_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    with replacing(file) as new:
        new.write(b"new")
        assert file.read_text() == "old"

    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_block_that_fails_leaves_the_old_contents_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    with pytest.raises(KeyboardInterrupt), replacing(file) as new:
        new.write(b"half")
        raise KeyboardInterrupt

    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_temporary_file_that_took_its_place_stays(tmp_path: Path) -> None:
    with temporary_file(tmp_path, ".new-") as temporary:
        temporary.write_text("kept")
        temporary.replace(tmp_path / "kept")

    assert [file.read_text() for file in tmp_path.iterdir()] == ["kept"]


def test_what_is_written_at_once_makes_its_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "file", json.dumps({"a": 1}))

    assert json.loads((tmp_path / "deep" / "file").read_text()) == {"a": 1}


def test_whoever_waits_in_vain_is_told_which_process_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "index.lock"

    with held_by_another_process(path) as holder:
        name = psutil.Process(holder.pid).name()
        with pytest.raises(FileLockedError) as caught, lock(path, 0.1, "The index"):
            pytest.fail("Two held the lock at once.")

    assert str(caught.value) == (
        f"The index is being changed for over 0.1 s by process {holder.pid} ({name}), which holds {path}; wait until "
        "that is done, or end it."
    )


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "index.lock"

    with held_by_another_process(path) as holder:
        holder.kill()
        holder.wait()
        with lock(path, 5.0, "The index"):
            pass


def test_a_lock_that_another_thread_holds_says_so(tmp_path: Path) -> None:
    path, taken, done = tmp_path / "index.lock", threading.Event(), threading.Event()

    def hold() -> None:
        with lock(path, 5.0, "The index"):
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        with pytest.raises(FileLockedError, match="by another thread of this process"), lock(path, 0.0, "The index"):
            pytest.fail("Two held the lock at once.")
    finally:
        done.set()
        thread.join()


def test_a_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "index.lock"

    with pytest.raises(ValueError, match="inside"), lock(path, 0.0, "The index"):
        raise ValueError("inside")
    with lock(path, 0.0, "The index"):
        pass


def test_a_held_lock_is_an_error_of_the_product_and_of_the_system(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "lock"):
        for kind in (BananaDeliveryError, OSError):
            with pytest.raises(kind), lock(tmp_path / "lock", 0.0, "It"):
                pytest.fail("Two held the lock at once.")


def test_a_held_record_is_an_error_of_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LOCK_SECONDS", 0.1)
    file = RecordFile(tmp_path / "record.json", tmp_path / "copy.json", Environment.PRODUCTION)

    with (
        held_by_another_process(tmp_path / "record.lock") as holder,
        pytest.raises(TargetError, match=rf"^Production is being changed .* by process {holder.pid} "),
        file.locked(),
    ):
        pytest.fail("Two held the lock at once.")


def test_a_held_image_layout_is_an_error_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_LOCK_SECONDS", 0.1)

    with (
        held_by_another_process(tmp_path / "index.lock") as holder,
        pytest.raises(ImageError, match=rf"by process {holder.pid} "),
        LayoutFiles(tmp_path).changing(),
    ):
        pytest.fail("Two held the lock at once.")


def test_a_second_up_of_the_same_home_ends_at_once(tmp_path: Path) -> None:
    stack = EmbeddedStack(Settings(home=tmp_path), [])

    with (
        held_by_another_process(tmp_path / "stack.lock") as holder,
        pytest.raises(StackError, match=rf"^The stack in {tmp_path} is being changed by process {holder.pid} "),
    ):
        stack.up(lambda line: None)


@pytest.mark.parametrize(("file", "module"), [("notices", notifier), ("notices.outbox.json", outbox)])
def test_a_held_list_of_notices_stops_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, module: object
) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    teller = Notifier(tmp_path / "notices", ["json://127.0.0.1:9"])

    with (
        held_by_another_process(tmp_path / f"{file}.lock") as holder,
        pytest.raises(OSError, match=rf"by process {holder.pid} "),
    ):
        teller.send(NOTICE)
    assert teller.sent() == []


def test_a_holder_that_is_stopped_is_ended_and_its_lock_taken(tmp_path: Path) -> None:
    path = tmp_path / "record.lock"

    with held_by_another_process(path) as holder:
        holder.send_signal(signal.SIGSTOP)
        with lock(path, 20.0, "The record", end_stopped=True):
            assert holder.wait(10) == -signal.SIGKILL


def test_a_holder_that_runs_is_never_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STOPPED_SECONDS", 0.05)
    path = tmp_path / "record.lock"

    with held_by_another_process(path) as holder:
        with pytest.raises(FileLockedError), lock(path, 0.3, "The record", end_stopped=True):
            pytest.fail("Two held the lock at once.")
        assert holder.poll() is None


@pytest.mark.parametrize("file", ["record.lock", "notices.lock", "notices.sending", "notices.outbox.json.lock"])
def test_neither_a_rollback_nor_its_notice_waits_for_a_stopped_process(tmp_path: Path, file: str) -> None:
    kept, teller = (
        RecordFile(tmp_path / "record.json", tmp_path / "copy.json", Environment.PRODUCTION),
        Notifier(tmp_path / "notices", ["json://127.0.0.1:9"]),
    )

    with held_by_another_process(tmp_path / file) as holder:
        holder.send_signal(signal.SIGSTOP)
        with kept.locked() as found:
            kept.write(found.replace(owner="Ada (rollback)"))
        assert teller.send(NOTICE)
        assert holder.wait(10) == -signal.SIGKILL
    assert kept.read().owner == "Ada (rollback)"
    assert teller.sent() == [NOTICE]
