"""Whether anything keeps deliveries out of production, in a sentence, and which policy judges."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from banana_delivery.errors import BadSettingsError
from banana_delivery.policies.calendar import FreezeWindow, frozen
from banana_delivery.policies.reading import load_policy
from banana_delivery.policy import commands
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.quoting import one_line
from banana_delivery.settings import Settings


def freeze_view(settings: Settings, said: FreezeRecord | None, now: float, *, asked: bool = True) -> Text:
    """Which policy judges, and whether anything keeps deliveries out of production.

    Args:
        settings: which policy that is.
        said: what was said last with ``freeze`` or ``unfreeze``.
        now: seconds since the epoch.
        asked: whether that could be looked up.
    """
    try:
        policy = load_policy(settings.policy_source)
    except BadSettingsError as error:
        # Its calendar is not known here; what somebody said, or the setting, holds whatever it says.
        return Text(one_line(". ".join(filter(None, [closed(settings, (), said, now), str(error)]))), "red")
    state = closed(settings, policy.freeze, said, now)
    if not state:
        state = "No freeze." if asked else "Whether somebody froze deliveries could not be looked up."
    return Text(one_line(f"Policy {policy.name}, {policy.digest[:19]}. {state}"))


def closed(settings: Settings, windows: Sequence[FreezeWindow], said: FreezeRecord | None, now: float) -> str:
    """What keeps deliveries out now, and what ends that, as a sentence; empty if nothing does."""
    why = frozen(by_setting=settings.freeze, said=said, windows=windows, now=now)
    if not why:
        return ""
    if settings.freeze:
        how = "start the processes of Dagster without it"
    else:
        by_calendar = not frozen(by_setting=False, said=said, windows=(), now=now)
        how = f"type: {commands.unfreeze('4h' if by_calendar else '')}"
    return f"Frozen ({why}); to let deliveries in, {how}"
