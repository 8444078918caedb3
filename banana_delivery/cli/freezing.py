"""Keeping deliveries out of production for a while."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import DryRun, Reason, recorded
from banana_delivery.errors import BadSettingsError
from banana_delivery.quoting import one_line
from banana_delivery.settings import load_settings


def freeze(
    reason: Reason,
    until: Annotated[str, typer.Option(help="90m, 4h, 2d, or '2026-12-01 08:00' of this machine's clock.")] = "",
    dry_run: DryRun = False,
) -> Answer:
    """Let nothing enter production until `unfreeze`, or until a time; what is under way there goes on."""
    return _say(reason, until, frozen=True, dry_run=dry_run)


def unfreeze(
    reason: Reason,
    until: Annotated[str, typer.Option(help="Lift the policy's calendar as well, until then.")] = "",
    dry_run: DryRun = False,
) -> Answer:
    """End what `freeze` began; with --until, let deliveries in although a window of the calendar is open."""
    return _say(reason, until, frozen=False, dry_run=dry_run)


def _say(reason: str, until: str, *, frozen: bool, dry_run: bool) -> Answer:
    from banana_delivery.delivery.deciding.decisions import decided_by, say_freeze
    from banana_delivery.platforms import platform
    from banana_delivery.policies.calendar import until_words
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.reports.freezing import closed
    from banana_delivery.waiting import SystemClock

    settings = load_settings()
    by = decided_by(platform(settings).user(settings))
    said = say_freeze(settings, SystemClock(), by, reason, until, frozen=frozen, dry_run=dry_run)
    still, what = "", "Nothing enters production" if frozen else "Deliveries may enter production"
    with suppress(BadSettingsError):
        still = "" if frozen else closed(settings, load_policy(settings.policy_source).freeze, said, said.at)
    document = {**said.model_dump(mode="json"), "still_closed": still}
    told = f". {one_line(still)}" if still else f": {what}{until_words(said.until)}."
    return Answer({"would": document} if dry_run else document, [f"{recorded(dry_run=dry_run)}, {said.by}{told}"])
