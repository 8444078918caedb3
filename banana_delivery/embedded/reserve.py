"""Room on the disk for the one change that cannot wait: a few files of nothing, given back when the disk is full."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

LOG = logging.getLogger(__name__)
SLICES = 4
SLICE_BYTES = 1 << 20
"""All slices together: a rollback writes some tens of kilobytes, while others fill the disk beside it."""
LEFT_OVER = 4
"""The reserve is made only where so many times its size is free: it must not be what fills the disk."""
FULL = (errno.ENOSPC, errno.EDQUOT)

Result = TypeVar("Result")


class Reserve:
    """Room that nobody else uses.

    Args:
        folder: for its files; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self) -> None:
        """Make what is missing, if there is plenty of room; failing to is only logged."""
        missing = [slice_ for slice_ in self._slices() if not slice_.exists()]
        if not missing:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free < LEFT_OVER * SLICES * SLICE_BYTES:
                return
            for file in missing:
                _allocate(file)
        except OSError as error:
            LOG.warning("No room can be kept in %s for a rollback on a full disk: %s", self._folder, error.strerror)

    def free(self) -> bool:
        """Give all of it back; whether there was any."""
        freed = False
        for file in self._slices():
            with suppress(OSError):
                file.unlink()
                freed = True
        return freed

    def making_room(self, change: Callable[[], Result], cannot_wait: Callable[[], bool]) -> Result:
        """Make a change; if the disk is full and it cannot wait, once more with the reserve given back.

        Args:
            change: whole or not at all, so that it can be begun anew.
            cannot_wait: whether it may have the reserve.
        """
        try:
            return change()
        except Exception as error:
            if not _is_full(error) or not cannot_wait() or not self.free():
                raise
            LOG.warning("The disk is full (%s); what was kept in %s for that is given back.", error, self._folder)
            return change()

    def _slices(self) -> list[Path]:
        return [self._folder / f"slice-{number}" for number in range(SLICES)]


def _allocate(file: Path) -> None:
    """A file with all of its room, or none."""
    try:
        with file.open("wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, SLICE_BYTES)
    except OSError:
        file.unlink(missing_ok=True)
        raise


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, however it was worded since."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False
