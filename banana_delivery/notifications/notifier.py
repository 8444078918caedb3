"""Telling people. A channel that fails never fails a release; an event is told once, and each channel gets it once."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError
from pydantic_core import to_json

from banana_delivery.errors import FileLockedError, redacted
from banana_delivery.files import lock, sync
from banana_delivery.notifications.channels import ANSWER_SECONDS, Answer, Channel, ask, open_channels, problem_of
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.outbox import Asked, Outbox, Owed
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.settings import Settings
from banana_delivery.waiting import Deadline

LOG = logging.getLogger(__name__)
CHANNEL_SECONDS = 15.0
"""A caller waits so long for all channels together."""
AGAIN = "Again: "
LOCK_SECONDS = 45.0
"""How long a notice waits to be written down; who holds the list may itself wait for the outbox, and for no channel."""


class Notifier:
    """Writes every notice into the log and a file, and sends it to each Apprise channel.

    The file is also the memory of what was told: one notice a line, as JSON. What a channel did not take waits in an
    outbox beside it until it does.

    Args:
        file: the notices.
        urls: of the channels, each with the audiences that it is for before it, if it is not for all.
        clock: seconds that only go forward; between two starts of the machine they may begin anew.
        where: what notices are about and which host says so, for those that do not tell; empty if nobody knows.
    """

    def __init__(
        self, file: Path, urls: Sequence[str] = (), clock: Callable[[], float] = time.monotonic, where: str = ""
    ) -> None:
        self._file = file
        self._urls = tuple(urls)
        self._clock = clock
        self._where = where
        self._outbox = Outbox(file.with_suffix(".outbox.json"))
        self._unwritten: set[str] = set()

    def send(self, notice: Notice) -> bool:
        """Tell people, unless they were told already, and try again what a channel did not take before.

        Returns:
            Whether this call told them.

        Raises:
            OSError: if the notice cannot be written down, because the disk is full or another process holds the list.
                The channels got it all the same: told twice, by another process, is better than never.
        """
        notice = self._placed(notice.replace(title=redacted(notice.title), body=redacted(notice.body)))
        try:
            new = self._note(notice)
        except OSError:
            self._send_unwritten(notice)
            raise
        if new:
            level = logging.WARNING if notice.urgency is Urgency.URGENT else logging.INFO
            LOG.log(level, "%s\n%s", notice.title, notice.body)
        self._send_what_is_owed()
        return new

    def _placed(self, notice: Notice) -> Notice:
        """With when it happened and where, if it does not say so and this is known."""
        if not self._where:
            return notice
        at = time.time() if notice.at is None else notice.at
        return notice.replace(at=at, where=notice.where or self._where)

    def _send_unwritten(self, notice: Notice) -> None:
        """Say what cannot be written down to every channel at once, for a bounded time."""
        if notice.key in self._unwritten:
            return
        self._unwritten.add(notice.key)
        LOG.warning("%s\n%s", notice.title, notice.body)
        if notice.urgency is Urgency.QUIET:
            return
        deadline = Deadline(CHANNEL_SECONDS)
        threads = [
            threading.Thread(target=ask, args=(channel, notice), daemon=True)
            for channel in self._channels.values()
            if channel.hears(notice)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=deadline.left)

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

    def told(self, keys: Iterable[str]) -> set[str]:
        """Which of some notices were told. Lines are searched and not read: nobody pays for the years before."""
        if not self._file.exists():
            return set()
        lines = self._file.read_bytes()
        return {key for key in keys if _tells(lines, key)}

    def _note(self, notice: Notice) -> bool:
        with lock(Path(f"{self._file}.lock"), LOCK_SECONDS, "The list of notices", end_stopped=True):
            if self.told([notice.key]):
                return False
            listening = [name for name, channel in self._channels.items() if channel.hears(notice)]
            if listening:
                # Before the line that says it was told: whoever dies in between tells it again, and loses nothing.
                self._outbox.add(notice, listening)
            with self._file.open("ab+") as file:
                file.write(_fresh_line(file) + notice.model_dump_json().encode() + b"\n")
                sync(file)
        return True

    def _send_what_is_owed(self) -> None:
        """One process at a time, so that no channel gets a notice twice."""
        if not self._outbox.waiting().owed:
            return
        try:
            with lock(Path(f"{self._file}.sending"), 2 * CHANNEL_SECONDS, "The sending of notices", end_stopped=True):
                self._send()
                self._give_up()
        except FileLockedError as error:
            LOG.warning("%s What is left is sent later.", error)

    def _send(self) -> None:
        """Send to every channel at once and wait a bounded time."""
        deadline = Deadline(CHANNEL_SECONDS)
        now = self._clock()
        owed = self._outbox.waiting().owed
        threads = []
        for name in self._channels:
            due = [one for one in owed if one.may_be_sent(name, now)]
            threads.append(threading.Thread(target=self._send_all, args=(name, due, deadline), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=deadline.left)

    def _send_all(self, name: str, due: Iterable[Owed], deadline: Deadline) -> None:
        for one in due:
            if deadline.passed:
                return
            try:
                self._send_one(name, one)
            except OSError as error:
                LOG.warning("What a notification channel answered cannot be written down: %s", error)
                return

    def _send_one(self, name: str, one: Owed) -> None:
        """Send a notice to a channel.

        It is written down before as sent and not answered: whoever is killed in between, or waits in vain, leaves a
        notice that has probably arrived, and not one that is sent for ever.
        """
        now = self._clock()
        before = one.by(name)
        self._outbox.asking(one.notice, name, now)
        # A file may be what it was refused for, and the words matter more.
        match ask(self._channels[name], _worded(one.notice, before), attach=not before.refused):
            case Answer.TAKEN:
                self._outbox.taken(one.notice, name)
            case Answer.REFUSED:
                counts = before.is_due(one.notice.urgency, now)
                self._outbox.refused(one.notice, name, before, now, counts=counts)
            case Answer.NONE:
                pass

    def _give_up(self) -> None:
        for notice, name in self._outbox.prune(self._channels, self._clock()):
            number = self._channels[name].number
            LOG.warning("Notification channel %d is not asked any more to take %r.", number, notice.title)

    def problems(self) -> list[str]:
        """What is wrong with the channels' addresses, one sentence each; without the address, which is secret."""
        said = (problem_of(number, url) for number, url in enumerate(self._urls, start=1))
        return [problem for problem in said if problem]

    def try_channels(self, notice: Notice) -> Iterator[tuple[str, bool]]:
        """Send something to every channel, whatever was told before, and keep nothing of it.

        Returns:
            For each what it made of it, in one sentence that does not tell its address, and whether it took it.
        """
        yield from ((problem, False) for problem in self.problems())
        said = {
            Answer.TAKEN: "took it",
            Answer.REFUSED: "did not take it; see whether its address, its token and the network to it are right",
            Answer.NONE: f"never answered within {ANSWER_SECONDS:.0f} s, and may have it all the same",
        }
        notice = self._placed(notice)
        for channel in self._channels.values():
            answer, named = ask(channel, notice), f"Channel {channel.number} of BANANA_NOTIFY_URLS ({channel.scheme})"
            yield f"{named} {said[answer]}.", answer is Answer.TAKEN

    @cached_property
    def _channels(self) -> dict[str, Channel]:
        return open_channels(self._urls)


def notifier_for(settings: Settings) -> Notifier:
    """The one that the settings describe; every process of a pipeline shares its list."""
    urls = [url.get_secret_value() for url in settings.notify_urls]
    return Notifier(settings.home / "notifications.jsonl", urls, where=where(settings))


def where(settings: Settings) -> str:
    """What notices are about, and which host tells."""
    host = socket.gethostname()
    if settings.target == "local":
        return f"production of the embedded stack on {host}"
    cluster = settings.kubernetes_production_context or "the pipeline's own cluster"
    return f"namespace {settings.kubernetes_production_namespace} of {cluster}, as told by {host}"


def _worded(notice: Notice, before: Asked) -> Notice:
    """The notice as it is sent: a repeat says that it is one."""
    if not before.unanswered:
        return notice
    why = "Sent again, since it is not known whether the message before this one arrived."
    return notice.replace(title=f"{AGAIN}{notice.title}", body=f"{notice.body}\n{why}")


def _read(line: bytes) -> Notice | None:
    try:
        return Notice.read_json(line)
    except ValidationError:
        return None


def _tells(lines: bytes, key: str) -> bool:
    """Whether one of many lines is the notice with a key; its text may quote a key, too.

    The newest come first: it is them that is asked for again and again.
    """
    wanted, before = to_json(key), len(lines)
    while (found := lines.rfind(wanted, 0, before)) >= 0:
        begin, end = lines.rfind(b"\n", 0, found) + 1, lines.find(b"\n", found)
        notice = _read(lines[begin : len(lines) if end < 0 else end])
        if notice and notice.key == key:
            return True
        before = begin
    return False


def _fresh_line(file: BinaryIO) -> bytes:
    """What has to come first so that a torn last line does not swallow the next one."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
