"""Telling people. A channel that fails never fails a release; an event is told once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock
from pydantic import ValidationError

from banana_delivery.policy.messages import Notice
from banana_delivery.policy.outcomes import Urgency

if TYPE_CHECKING:
    from apprise import NotifyType
    from apprise.plugins.base import NotifyBase

LOG = logging.getLogger(__name__)
CHANNEL_SECONDS = 15.0


class Notifier:
    """Writes every notice into the log and a file, and sends it to each Apprise channel.

    The file is also the memory of what was told: one notice a line, as JSON.
    """

    def __init__(self, file: Path, urls: Sequence[str] = ()) -> None:
        self._file = file
        self._urls = tuple(urls)

    def tell(self, notice: Notice) -> bool:
        """Tell people, unless they were told already.

        Returns:
            Whether this call told them.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._file}.lock"):
            if any(told.key == notice.key for told in self.told()):
                return False
            with self._file.open("ab+") as file:
                file.write(_fresh_line(file) + notice.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        LOG.log(
            logging.WARNING if notice.urgency is Urgency.URGENT else logging.INFO, "%s\n%s", notice.title, notice.body
        )
        if notice.urgency is not Urgency.QUIET:
            self._send(notice)
        return True

    def told(self) -> list[Notice]:
        """Everything that was told, oldest first; a line that a full disk or a power cut tore is left out."""
        if not self._file.exists():
            return []
        notices = (_read(line) for line in self._file.read_bytes().split(b"\n"))
        return [notice for notice in notices if notice]

    def _send(self, notice: Notice) -> None:
        """Send to every channel at once and wait a bounded time; the URLs hold secrets and are never logged."""
        if not self._urls:
            return
        import apprise

        # Apprise logs the URLs that it cannot use, secrets and all.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        kind = apprise.NotifyType.WARNING if notice.urgency is Urgency.URGENT else apprise.NotifyType.INFO
        threads = []
        for number, url in enumerate(self._urls, start=1):
            channel = apprise.Apprise.instantiate(url, suppress_exceptions=True)
            if channel is None:
                LOG.warning("Notification channel %d of BANANA_NOTIFY_URLS is no URL that Apprise knows.", number)
                continue
            threads.append(threading.Thread(target=_send_one, args=(number, channel, notice, kind), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=CHANNEL_SECONDS)


def _send_one(number: int, channel: NotifyBase, notice: Notice, kind: NotifyType) -> None:
    try:
        taken = channel.notify(title=notice.title, body=notice.body, notify_type=kind)
    except Exception as error:  # noqa: BLE001 - whatever a channel does, a release goes on
        LOG.warning("Notification channel %d failed: %s", number, type(error).__name__)
        return
    if not taken:
        LOG.warning("Notification channel %d did not take the message about %r.", number, notice.title)


def _read(line: bytes) -> Notice | None:
    try:
        return Notice.model_validate_json(line)
    except ValidationError:
        return None


def _fresh_line(file: BinaryIO) -> bytes:
    """What has to come first so that a torn last line does not swallow the next one."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
