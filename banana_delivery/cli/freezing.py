"""Keeping deliveries out of production for a while, and what ``status`` says of that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from banana_delivery.cli.common import Reason, console
from banana_delivery.errors import BadSettingsError
from banana_delivery.policy import commands
from banana_delivery.policy.freezes import FreezeRecord
from banana_delivery.quoting import one_line
from banana_delivery.settings import Settings, load_settings

if TYPE_CHECKING:
    from banana_delivery.policies.calendar import FreezeWindow


def freeze(
    reason: Reason,
    until: Annotated[str, typer.Option(help="90m, 4h, 2d, or '2026-12-01 08:00' of this machine's clock.")] = "",
) -> None:
    """Let nothing enter production until `unfreeze`, or until a time; what is under way there goes on."""
    _say(reason, until, frozen=True)


def unfreeze(
    reason: Reason,
    until: Annotated[str, typer.Option(help="Lift the policy's calendar as well, until then.")] = "",
) -> None:
    """End what `freeze` began; with --until, let deliveries in although a window of the calendar is open."""
    _say(reason, until, frozen=False)


def _say(reason: str, until: str, *, frozen: bool) -> None:
    from banana_delivery.delivery.launch import decided_by, say_freeze
    from banana_delivery.platforms import platform
    from banana_delivery.policies.calendar import until_words
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.waiting import SystemClock

    settings = load_settings()
    by = decided_by(platform(settings).user(settings))
    said = say_freeze(settings, SystemClock(), by, reason, until, frozen=frozen)
    what = "Nothing enters production" if frozen else "Deliveries may enter production"
    with suppress(BadSettingsError):
        if not frozen and (still := _closed(settings, load_policy(settings.policy_source).freeze, said, said.at)):
            console.print(f"Recorded, {said.by}. {one_line(still)}", soft_wrap=True, highlight=False, markup=False)
            return
    console.print(f"Recorded, {said.by}: {what}{until_words(said.until)}.", soft_wrap=True, highlight=False)


def freeze_view(settings: Settings, said: FreezeRecord | None, now: float, *, asked: bool = True) -> Text:
    """Which policy judges, and whether anything keeps deliveries out of production.

    Args:
        settings: which policy that is.
        said: what was said last with ``freeze`` or ``unfreeze``.
        now: seconds since the epoch.
        asked: whether that could be looked up.
    """
    from banana_delivery.policies.reading import load_policy

    try:
        policy = load_policy(settings.policy_source)
    except BadSettingsError as error:
        return Text(one_line(str(error)), "red")
    state = _closed(settings, policy.freeze, said, now)
    if not state:
        state = "No freeze." if asked else "Whether somebody froze deliveries could not be looked up."
    return Text(one_line(f"Policy {policy.name}, {policy.digest[:19]}. {state}"))


def _closed(settings: Settings, windows: Sequence[FreezeWindow], said: FreezeRecord | None, now: float) -> str:
    """What keeps deliveries out now, and what ends that, as a sentence; empty if nothing does."""
    from banana_delivery.policies.calendar import frozen

    closed = frozen(by_setting=settings.freeze, said=said, windows=windows, now=now)
    if not closed:
        return ""
    if settings.freeze:
        how = "start the processes of Dagster without it"
    else:
        by_calendar = not frozen(by_setting=False, said=said, windows=(), now=now)
        how = f"type: {commands.unfreeze('4h' if by_calendar else '')}"
    return f"Frozen ({closed}); to let deliveries in, {how}"
