"""A notice in the words that a channel can show: plain text, markdown or HTML.

A line of the body is a link exactly where the notice says so; whatever a stranger's words look like, they stay words.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

from banana_delivery.notifications.messages import Notice
from banana_delivery.quoting import in_html, in_link, in_markdown, in_notice

LABEL = re.compile(r"(Users|Image|Next|Run|Report|When|Where): (.+)")
"""What our own lines begin with, and what is set apart where a channel shows more than plain text."""


class Form(StrEnum):
    """What channels show; the words are Apprise's."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"


def moment(at: float) -> str:
    """A time as people anywhere read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%d %B %Y %H:%M:%S UTC")


def lines_of(notice: Notice) -> list[str]:
    """Everything that is said below the title, a line each: the last ones say when and where."""
    when = [f"When: {moment(notice.at)}"] if notice.at is not None else []
    where = [f"Where: {notice.where}"] if notice.where else []
    return [in_notice(line) for line in [*notice.body.split("\n"), *when, *where]]


def worded(notice: Notice, form: Form) -> str:
    """What is sent as the body of a message."""
    lines = lines_of(notice)
    links = {in_notice(f"{label}: {address}"): (label, address) for label, address in notice.links}
    match form:
        case Form.TEXT:
            return "\n".join(lines)
        case Form.MARKDOWN:
            return "\n\n".join(_markdown(line, links.get(line)) for line in lines)
        case Form.HTML:
            return "\n".join(f"<p>{_html(line, links.get(line))}</p>" for line in lines)


def _markdown(line: str, link: tuple[str, str] | None) -> str:
    if link:
        return f"**{link[0]}:** {link[1]}"
    found = LABEL.fullmatch(line)
    return f"**{found[1]}:** {in_markdown(found[2])}" if found else in_markdown(line)


def _html(line: str, link: tuple[str, str] | None) -> str:
    if link:
        return f'<b>{in_html(link[0])}:</b> <a href="{in_link(link[1])}">{in_html(link[1])}</a>'
    found = LABEL.fullmatch(line)
    return f"<b>{found[1]}:</b> {in_html(found[2])}" if found else in_html(line)
