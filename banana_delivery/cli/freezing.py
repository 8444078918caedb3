"""Keeping deliveries out of production for a while, and what ``status`` says of that."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from banana_delivery.cli.common import Reason, console
from banana_delivery.errors import BadSettingsError
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import FreezeRecord
from banana_delivery.quoting import one_line
from banana_delivery.settings import Settings, load_settings


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
    from banana_delivery.delivery.launch import claimed_by, say_freeze
    from banana_delivery.policies.calendar import until_words
    from banana_delivery.waiting import SystemClock

    said = say_freeze(load_settings(), SystemClock(), claimed_by(), reason, until, frozen=frozen)
    what = "Nothing enters production" if frozen else "Deliveries may enter production"
    console.print(f"Recorded, {said.by}: {what}{until_words(said.until)}.", soft_wrap=True, highlight=False)


def freeze_view(settings: Settings, said: FreezeRecord | None, now: float) -> Text:
    """Which policy judges, and whether anything keeps deliveries out of production."""
    from banana_delivery.policies.calendar import frozen
    from banana_delivery.policies.reading import load_policy

    try:
        policy = load_policy(settings.policy_source)
    except BadSettingsError as error:
        return Text(one_line(str(error)), "red")
    closed = frozen(by_setting=settings.freeze, said=said, windows=policy.freeze, now=now)
    state = f"Frozen ({closed}); to let deliveries in, type: {commands.unfreeze()}" if closed else "No freeze."
    return Text(one_line(f"Policy {policy.name}, {policy.digest[:19]}. {state}"))
