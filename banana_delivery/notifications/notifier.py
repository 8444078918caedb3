"""Telling people. A channel that fails never fails a release; an event is told once, and each channel gets it once."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pydantic import ValidationError

from banana_delivery.errors import FileLockedError
from banana_delivery.files import lock, sync, text_sha256
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.outbox import Outbox
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.waiting import Deadline

if TYPE_CHECKING:
    from apprise.plugins.base import NotifyBase

LOG = logging.getLogger(__name__)
CHANNEL_SECONDS = 15.0
LOCK_SECONDS = 45.0
"""How long a notice waits to be written down; who holds the list may itself wait for the outbox, and for no channel."""


class _Channel(NamedTuple):
    """Where notices are sent: its place in BANANA_NOTIFY_URLS names it to people, as its URL is a secret."""

    number: int
    plugin: NotifyBase


class Notifier:
    """Writes every notice into the log and a file, and sends it to each Apprise channel.

    The file is also the memory of what was told: one notice a line, as JSON. What a channel did not take waits in an
    outbox beside it until it does.

    Args:
        file: the notices.
        urls: of the channels.
        clock: seconds since the epoch.
    """

    def __init__(self, file: Path, urls: Sequence[str] = (), clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._urls = tuple(urls)
        self._clock = clock
        self._outbox = Outbox(file.with_suffix(".outbox.json"))

    def send(self, notice: Notice) -> bool:
        """Tell people, unless they were told already, and try again what a channel did not take before.

        Returns:
            Whether this call told them.

        Raises:
            OSError: if the notice cannot be written down, because the disk is full or another process holds the list.
        """
        new = self._note(notice)
        if new:
            level = logging.WARNING if notice.urgency is Urgency.URGENT else logging.INFO
            LOG.log(level, "%s\n%s", notice.title, notice.body)
        self._send_what_is_owed()
        return new

    def catch_up(self) -> None:
        """Try again what a channel did not take, the less often the longer it fails.

        Raises:
            OSError: if it cannot be written down what a channel took.
        """
        if self._outbox.waiting().is_due(self._clock()):
            self._send_what_is_owed()

    def sent(self) -> list[Notice]:
        """Everything that was told, oldest first; a line that a full disk or a power cut tore is left out."""
        if not self._file.exists():
            return []
        notices = (_read(line) for line in self._file.read_bytes().split(b"\n"))
        return [notice for notice in notices if notice]

    def _note(self, notice: Notice) -> bool:
        with lock(Path(f"{self._file}.lock"), LOCK_SECONDS, "The list of notices"):
            if any(told.key == notice.key for told in self.sent()):
                return False
            if notice.urgency is not Urgency.QUIET:
                # Before the line that says it was told: whoever dies in between tells it again, and loses nothing.
                self._outbox.add(notice, self._channels)
            with self._file.open("ab+") as file:
                file.write(_fresh_line(file) + notice.model_dump_json().encode() + b"\n")
                sync(file)
        return True

    def _send_what_is_owed(self) -> None:
        """One process at a time, so that no channel gets a notice twice."""
        if not self._outbox.waiting().owed:
            return
        try:
            with lock(Path(f"{self._file}.sending"), 2 * CHANNEL_SECONDS, "The sending of notices"):
                self._send()
                self._outbox.tried(self._clock(), self._channels)
        except FileLockedError as error:
            LOG.warning("%s What is left is sent later.", error)

    def _send(self) -> None:
        """Send to every channel at once and wait a bounded time."""
        deadline = Deadline(CHANNEL_SECONDS)
        owed = self._outbox.waiting().owed
        threads = []
        for name in self._channels:
            notices = [one.notice for one in owed if name in one.channels]
            threads.append(threading.Thread(target=self._send_all, args=(name, notices, deadline), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=deadline.left)

    def _send_all(self, name: str, notices: Iterable[Notice], deadline: Deadline) -> None:
        for notice in notices:
            if deadline.passed:
                return
            if _takes(self._channels[name], notice):
                self._note_taken(notice, name)

    def _note_taken(self, notice: Notice, name: str) -> None:
        try:
            self._outbox.taken(notice, name)
        except OSError as error:
            number = self._channels[name].number
            LOG.warning("Channel %d took %r, but may get it again: %s", number, notice.title, error)

    @cached_property
    def _channels(self) -> dict[str, _Channel]:
        """The channels by names that stay when others come and go, and that do not tell the URLs, which are secret."""
        if not self._urls:
            return {}
        import apprise

        # Apprise logs the URLs that it cannot use, secrets and all.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        found = {}
        for number, url in enumerate(self._urls, start=1):
            plugin = apprise.Apprise.instantiate(url, suppress_exceptions=True)
            if plugin is None:
                LOG.warning("Notification channel %d of BANANA_NOTIFY_URLS is no URL that Apprise knows.", number)
            else:
                found[text_sha256(url)[:8]] = _Channel(number, plugin)
        return found


def _takes(channel: _Channel, notice: Notice) -> bool:
    import apprise

    kind = apprise.NotifyType.WARNING if notice.urgency is Urgency.URGENT else apprise.NotifyType.INFO
    try:
        taken = bool(channel.plugin.notify(title=notice.title, body=notice.body, notify_type=kind))
    except Exception as error:  # noqa: BLE001 - whatever a channel does, a release goes on
        LOG.warning("Notification channel %d failed: %s", channel.number, type(error).__name__)
        return False
    if not taken:
        LOG.warning("Notification channel %d did not take the message about %r.", channel.number, notice.title)
    return taken


def _read(line: bytes) -> Notice | None:
    try:
        return Notice.read_json(line)
    except ValidationError:
        return None


def _fresh_line(file: BinaryIO) -> bytes:
    """What has to come first so that a torn last line does not swallow the next one."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
