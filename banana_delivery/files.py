"""Files: their hashes, writing them so that a reader or a power cut finds the old contents or the new, and locks.

Every lock of the product is taken here, for a bounded time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from banana_delivery.errors import BananaDeliveryError, FileLockedError
from banana_delivery.quoting import one_line

LOG = logging.getLogger(__name__)
LOG_TAIL = 4096
"""Bytes of what a process printed that are read."""
SAID = 300
"""Characters of its last line."""
STOPPED_SECONDS = 0.4
"""Between two looks at whoever holds a lock: most hold it for milliseconds, and users may be waiting."""


def file_sha256(path: Path) -> str:
    """Sha256 of a file's content, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """Sha256 of a text, as hex."""
    return bytes_sha256(text.encode())


def bytes_sha256(content: bytes) -> str:
    """Sha256 of some bytes, as hex."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """The same of a file in the form ``sha256:<hex>``, as images name their parts."""
    return f"sha256:{file_sha256(path)}"


def bytes_digest(content: bytes) -> str:
    """The same of some bytes in the form ``sha256:<hex>``."""
    return f"sha256:{bytes_sha256(content)}"


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter, and let files made by this process from now on be this user's alone.

    A folder of an earlier version that others could enter is closed to them.

    Raises:
        OSError: if it cannot be made, or belongs to somebody else.
    """
    os.umask(0o077)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's contents in one step; only this user may read it.

    Raises:
        OSError: if the disk is full or not writable; the old contents stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())


def write_once(path: Path, text: str) -> None:
    """Make a file that only this user may read, whole or not at all; one that is there already stays as it is.

    Raises:
        OSError: if it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with temporary_file(path.parent, f".{path.name}.") as temporary:
        with temporary.open("wb") as file:
            file.write(text.encode())
            sync(file)
        with suppress(FileExistsError):
            os.link(temporary, path)


@contextmanager
def replacing(path: Path, prefix: str = "") -> Iterator[BinaryIO]:
    """A file to write; at the block's end it takes the place of the one at ``path``, which stays if the block fails.

    Args:
        path: in a folder that exists.
        prefix: what the temporary file beside it begins with.

    Raises:
        OSError: if the disk is full or not writable; the old contents stay.
    """
    with temporary_file(path.parent, prefix or f".{path.name}.") as temporary:
        with temporary.open("wb") as file:
            yield file
            sync(file)
        temporary.replace(path)
    _sync_directory(path.parent)


@contextmanager
def temporary_file(directory: Path, prefix: str) -> Iterator[Path]:
    """An empty file that only this user may read; what still bears its name at the block's end is removed."""
    # The name ends in .tmp because Traefik and supervisord read everything in a directory that ends in theirs.
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=directory)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def read_plain(file: Path, most: int) -> bytes:
    """The content of a file in a folder to which somebody writes who is not believed.

    Raises:
        OSError: if it is a link, something else than a file, or larger than ``most`` bytes.
    """
    with _plain(file, most) as content:
        return content.read(most)


def last_line(log: Path) -> str:
    """The last line of what such a process printed, as a part of a sentence."""
    try:
        with _plain(log, sys.maxsize) as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL, 0))
            lines = file.read(LOG_TAIL).decode(errors="replace").strip().splitlines()
    except OSError:  # It put something else there.
        lines = []
    return one_line(lines[-1], SAID) if lines else "no output"


def copy_plain(file: Path, to: Path, most: int) -> None:
    """Copy such a file.

    Raises:
        OSError: as ``read_plain`` does, or if it cannot be written.
    """
    with _plain(file, most) as content, to.open("wb") as copy:
        shutil.copyfileobj(content, copy)


def _plain(file: Path, most: int) -> BinaryIO:
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode) or about.st_size > most:
        os.close(handle)
        raise OSError(f"{file.name} is no file of at most {most:,} bytes")
    return os.fdopen(handle, "rb")


def sync(file: BinaryIO) -> None:
    """Return once what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(
    path: Path,
    seconds: float,
    what: str,
    *,
    error: type[BananaDeliveryError] = FileLockedError,
    pause: float = 0.05,
    end_stopped: bool = False,
) -> Iterator[None]:
    """Keep every other process and thread out while the block runs; whoever dies inside leaves no lock behind.

    Args:
        path: the lock file; it holds nothing.
        seconds: how long to wait for somebody else.
        what: what is locked, as the beginning of a sentence.
        error: what to raise then.
        pause: seconds between two tries.
        end_stopped: end a holder that is stopped, as by SIGSTOP. It would keep everybody out for ever; broken instead,
            the lock would let it go on where it was once it is continued, in the middle of somebody else's change.

    Raises:
        BananaDeliveryError: of the type asked for, if it is not free in time; it says who holds it.
        OSError: if the lock file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not local to a thread, so that a block that one thread begins may end in another.
    taken = FileLock(path, timeout=seconds, thread_local=False)
    try:
        _acquire(taken, path, seconds, pause, end_stopped=end_stopped)
    except Timeout as timeout:
        waited = f" for over {seconds:g} s" if seconds else ""
        raise error(
            f"{what} is being changed{waited} by {_holder(path)}, which holds {path}; wait until that is done, or end "
            "it."
        ) from timeout
    try:
        yield
    finally:
        taken.release()


def _acquire(taken: FileLock, path: Path, seconds: float, pause: float, *, end_stopped: bool) -> None:
    """Wait for the lock, and look from time to time whether its holder still runs."""
    stopped: set[int] = set()
    while end_stopped and seconds > STOPPED_SECONDS:
        try:
            taken.acquire(timeout=STOPPED_SECONDS, poll_interval=pause)
        except Timeout:
            seconds -= STOPPED_SECONDS
            now = _stopped_holders(path)
            # Seen so twice: a holder that is stopped for a moment is left alone.
            _end([pid for pid in now if pid in stopped], path)
            stopped = now
        else:
            return
    taken.acquire(timeout=seconds, poll_interval=pause)


def _stopped_holders(path: Path) -> set[int]:
    """Process ids of those that hold a lock and do not run; none where the system does not say so."""
    import psutil

    found, wanted = set(), str(path.resolve())
    for pid in _holders(path):
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            opened = any(file.path == wanted for file in process.open_files())
            if opened and process.status() == psutil.STATUS_STOPPED and pid != os.getpid():
                found.add(pid)
    return found


def _holders(path: Path) -> set[int]:
    """Process ids of those that hold the lock of a file with this number, on any disk, as Linux tells them."""
    try:
        number, lines = path.stat().st_ino, Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    fields = [line.split() for line in lines if "->" not in line]
    return {int(field[4]) for field in fields if field[1] == "FLOCK" and field[5].rpartition(":")[2] == str(number)}


def _end(pids: Iterable[int], path: Path) -> None:
    import psutil

    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            LOG.warning("Process %d was stopped while it held %s, and is ended so that others can go on.", pid, path)
            # Dead is enough: its lock is free. It stays in the list of processes until its parent looks, if it does.
            process.kill()


def _holder(path: Path) -> str:
    """Who has a file open, as far as this user may see."""
    # Loading psutil takes a while, and this is rarely asked.
    import psutil

    found, wanted = [], str(path.resolve())
    for process in psutil.process_iter():
        try:
            if any(file.path == wanted for file in process.open_files()):
                ourselves = process.pid == os.getpid()
                found.append(
                    "another thread of this process" if ourselves else f"process {process.pid} ({process.name()})"
                )
        except (psutil.Error, OSError):
            continue
    return " or ".join(found) or "a process that this user may not see"
