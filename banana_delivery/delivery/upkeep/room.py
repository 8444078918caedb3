"""Whether there is room for the next delivery: people are told before it is refused, and it is refused before it fails.

A delivery that fills the disk fails wherever it is, and takes the audit trail and the databases of others with it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from banana_delivery.errors import NoRoomError
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.upkeep import low_disk
from banana_delivery.policy import commands
from banana_delivery.settings import Settings

LOG = logging.getLogger(__name__)
GIB = 1 << 30
LEAST_DELIVERY_BYTES = 64 << 20
"""Of a first delivery, before anything is known: a small detector with its image, events and report takes about 40."""
COPIES = 6
"""Of an exported model: its checkpoint, a scratch copy, itself, its layer, the unpacked release, and a margin."""
DELIVERIES_AHEAD = 5
RECOVERED = 1.2
"""A disk is well again with so many times what it must have free: one at the limit is told of once, not each minute."""


@dataclass(frozen=True)
class Room:
    """The disk below the home.

    Attributes:
        settings: where it is, and how much is to be free.
    """

    settings: Settings

    @property
    def free(self) -> int:
        """Bytes that are free on the home's disk."""
        return self._free(self.settings.home)

    @property
    def needed(self) -> int:
        """Bytes that a delivery takes: what the largest model kept took, as often as it is copied."""
        models = self.settings.home / "artifacts" / self.settings.model_name
        sizes = [_size(file) for file in models.glob("*/*.onnx")] if models.is_dir() else []
        return max([LEAST_DELIVERY_BYTES, *(COPIES * size for size in sizes)])

    @property
    def wanted(self) -> int:
        """Bytes below which people are told; 0 for never."""
        least = self.settings.least_free_gib
        return max(round(least * GIB), DELIVERIES_AHEAD * self.needed) if least else 0

    def refuse_if_none(self, make_room: Callable[[], object]) -> None:
        """Let pass only where a delivery has room.

        Args:
            make_room: removes what old deliveries left; called only where there is no room.

        Raises:
            NoRoomError: if there is none after that, either; one sentence with what to do.
        """
        if self.free >= self.needed:
            return
        make_room()
        needed, free = self.needed, self.free
        if free < needed:
            raise NoRoomError(
                f"A delivery takes about {_mib(needed)} and {_mib(free)} are free in {self.settings.home}; nothing was "
                f"changed. Make room there ({commands.prune()} shows what the pipeline keeps there), then deliver "
                "again."
            )

    def look(self, tell: Callable[[Notice], object]) -> str:
        """Tell people once of each disk that fills, and once more when deliveries are refused.

        Returns:
            What was found, as a sentence; empty if there is room.
        """
        needed, wanted, found = self.needed, self.wanted, []
        for folder in self._folders():
            free = self._free(folder)
            if free >= RECOVERED * wanted:
                self._mark(folder).unlink(missing_ok=True)
            elif free < wanted:
                refused = free < needed
                occasion = f"{self._since(folder)}{'/refused' if refused else ''}"
                tell(low_disk(self.settings.model_name, str(folder), free, needed, occasion, refused=refused))
                found.append(f"{_mib(free)} are free in {folder}")
        return "; ".join(found)

    def _folders(self) -> Iterator[Path]:
        """The home, and where runs print to if that is another disk."""
        home = self.settings.home
        yield home
        output = home / "dagster" / "storage"
        if output.is_dir() and output.stat().st_dev != home.stat().st_dev:
            yield output

    def _since(self, folder: Path) -> str:
        """What tells this time that a disk is full from other ones: it stays until there was room again."""
        mark = self._mark(folder)
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                mark.touch()
            return str(mark.stat().st_mtime_ns)
        except OSError as error:
            LOG.warning("It cannot be noted in %s that the disk fills: %s", mark, error)
            return "unnoted"

    def _mark(self, folder: Path) -> Path:
        """An empty file, which even a full disk takes."""
        return self.settings.home / "low-disk" / (folder.name or "root")

    def _free(self, folder: Path) -> int:
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # Retention was faster.


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
