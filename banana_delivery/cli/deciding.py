"""What people decide: about a version, and about records of earlier times."""

from __future__ import annotations

from typing import Annotated

import typer

from banana_delivery.cli.common import Digest, Reason, Version, audit_trail, console
from banana_delivery.cli.delivering import launch
from banana_delivery.policy import commands
from banana_delivery.settings import load_settings


def approve(version: Version, reason: Reason, digest: Digest = "") -> None:
    """Let a version into production whose A/B report was inconclusive."""
    _record_decision("approval", version, reason, digest)
    launch("deliver", [version], "cli", ["production_release"])


def override(version: Version, reason: Reason, digest: Digest = "") -> None:
    """Let a version into production that was revoked, or that a freeze window keeps out."""
    _record_decision("override", version, reason, digest)
    console.print(f"To deliver it now, type: {commands.deliver(version)}")


def adopt_records(
    yes: Annotated[bool, typer.Option("--yes", help="Adopt them without asking.")] = False,
) -> None:
    """Show the records that bear no signature, as earlier versions wrote them, and have them believed from then on."""
    from banana_delivery.reports.terminal import unsigned_view

    settings = load_settings()
    with audit_trail(settings) as log:
        found = log.unsigned()
        if not found:
            console.print("Every record is signed or adopted already.")
            return
        rows = [(one.event, one.asset, one.version, one.run_id, one.says) for one in found]
        console.print(unsigned_view(rows))
        if not yes:
            typer.confirm(f"Are these {len(found)} records this pipeline's own, and true?", abort=True)
        log.adopt(found)
    console.print(f"{len(found)} records count from now on.")


def _record_decision(kind: str, version: str, reason: str, digest: str) -> None:
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.deciding.decisions import decide, decided_by
    from banana_delivery.platforms import platform
    from banana_delivery.policy.asset_records import DecisionKind

    settings = load_settings()
    parts = build_resources(settings)
    by = decided_by(platform(settings).user(settings))
    said = decide(settings, parts.model_registry, parts.clock, DecisionKind(kind), version, digest, reason, by)
    console.print(
        f"Recorded, {said.by}: {said.kind} of version {said.version} as {said.digest[:19]}, which counts for "
        f"{settings.decision_hours:g} h.",
        soft_wrap=True,
    )
