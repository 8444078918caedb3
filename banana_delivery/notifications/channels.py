"""Apprise's channels: which address is one, who is told there, and what a channel makes of a notice."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from banana_delivery.files import text_sha256
from banana_delivery.notifications.forms import Form, worded
from banana_delivery.notifications.messages import Audience, Notice
from banana_delivery.quoting import cited, in_notice

if TYPE_CHECKING:
    from apprise.plugins.base import NotifyBase

LOG = logging.getLogger(__name__)
ANSWER_SECONDS = 60.0
"""A channel may take so long to answer, while nobody waits for it; Apprise's own 4 s make a slow channel look like one
that failed. An address can say otherwise: ``?rto=``."""
EVERYBODY = frozenset(Audience)
_FOR = re.compile(r"([A-Za-z]+(?:,[A-Za-z]+)*)=(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""Who is told at an address, before it: ``urgent,asks=mailto://...``, the form of Apprise's own configuration."""


class Answer(Enum):
    """What a channel made of a notice."""

    TAKEN = auto()
    REFUSED = auto()
    NONE = auto()


class Channel(NamedTuple):
    """Where notices are sent: its place in BANANA_NOTIFY_URLS names it to people, as its URL is a secret."""

    number: int
    plugin: NotifyBase
    scheme: str
    audiences: frozenset[Audience] = EVERYBODY

    def hears(self, notice: Notice) -> bool:
        """Whether a notice is for who listens there."""
        return notice.audience in self.audiences

    @property
    def form(self) -> Form:
        """The richest that it shows. One that takes every form hands it on to a program, for which text is right."""
        form = Form(self.plugin.resolve_format(None))
        taken: Any = self.plugin.notify_format  # One or several, whatever its type says.
        forms = {Form(one) for one in ((taken,) if isinstance(taken, str) else taken)}
        return Form.MARKDOWN if form is Form.TEXT and forms == {Form.TEXT, Form.MARKDOWN} else form


def split_address(text: str) -> tuple[frozenset[str], str]:
    """Whom an address is for, by the words before it, and the address; nobody named is everybody."""
    found = _FOR.match(text)
    return (frozenset(found[1].split(",")), text[found.end() :]) if found else (frozenset(), text)


def open_channels(addresses: Sequence[str]) -> dict[str, Channel]:
    """The channels by names that stay when others come and go, and that do not tell the URLs, which are secret.

    An address that cannot be used is left out; ``problem_of`` says why. One that stands there twice is one channel.
    """
    found: dict[str, Channel] = {}
    for number, text in enumerate(addresses, start=1):
        named, address = split_address(text)
        plugin = _plugin(address)
        if plugin is None or not named <= EVERYBODY:
            LOG.warning("Notification channel %d of BANANA_NOTIFY_URLS cannot be used.", number)
            continue
        audiences = frozenset(Audience(one) for one in named) or EVERYBODY
        earlier = found.get(name_of(address))
        if earlier:
            audiences |= earlier.audiences
        found[name_of(address)] = Channel(number, plugin, scheme_of(address), audiences)
    return found


def _plugin(address: str) -> NotifyBase | None:
    import apprise

    # Apprise logs the URLs that it cannot use, secrets and all.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    plugin: NotifyBase | None = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if plugin is not None and plugin.socket_read_timeout == apprise.URLBase.socket_read_timeout:
        plugin.socket_read_timeout = ANSWER_SECONDS
    return plugin


def problem_of(number: int, text: str) -> str:
    """Why an address cannot be used, in one sentence without the address, which is secret; empty if it can be."""
    named, address = split_address(text)
    channel = f"Channel {number} of BANANA_NOTIFY_URLS ({scheme_of(address)})"
    if strange := sorted(named - EVERYBODY):
        known = ", ".join(Audience)
        return f"{channel} is for {', '.join(map(cited, strange))}, which nobody is: write one or more of {known}."
    if _plugin(address) is not None:
        return ""
    if _knows(address):
        return (
            f"{channel} is not complete: Apprise cannot tell from it where to send to, so nobody is told there; write "
            "it as its documentation says, for mail as mailto://user:password@host?to=somebody@host."
        )
    return (
        f"{channel} is no address that Apprise knows, so nobody is told there: write it as its documentation says, for "
        "example json://host/path."
    )


def _knows(address: str) -> bool:
    from apprise.manager_plugins import NotificationManager

    known: list[str] = NotificationManager().schemas()  # type: ignore[no-untyped-call]
    return address.partition("://")[0].lower() in known


def ask(channel: Channel, notice: Notice, *, attach: bool = True) -> Answer:
    """Send a notice. Apprise does not say why a channel failed; one that took all its time may have it all the same.

    Args:
        channel: where to.
        notice: what to send.
        attach: whether its report goes with it, where the channel takes files.
    """
    import apprise

    kind, form, start = apprise.NotifyType(notice.look.value), channel.form, time.monotonic()
    files = [notice.report] if attach and channel.plugin.attachment_support and _is_file(notice.report) else None
    try:
        taken = bool(
            channel.plugin.notify(
                title=in_notice(notice.title),
                body=worded(notice, form),
                notify_type=kind,
                body_format=apprise.NotifyFormat(form.value),
                attach=files,
            )
        )
    except Exception as error:  # noqa: BLE001 - whatever a channel does, a release goes on
        LOG.warning("Notification channel %d failed: %s", channel.number, type(error).__name__)
        taken = False
    if taken:
        return Answer.TAKEN
    if time.monotonic() - start >= channel.plugin.socket_read_timeout:
        LOG.warning("Notification channel %d never answered to the message about %r.", channel.number, notice.title)
        return Answer.NONE
    LOG.warning("Notification channel %d did not take the message about %r.", channel.number, notice.title)
    return Answer.REFUSED


def _is_file(name: str) -> bool:
    return bool(name) and Path(name).is_file()


def name_of(address: str) -> str:
    """By which a channel is remembered."""
    return text_sha256(address)[:8]


def scheme_of(address: str) -> str:
    """All of an address that people are shown."""
    scheme, there, _ = address.partition("://")
    return f"{scheme}://..." if there and scheme.isalnum() else "without a scheme"
