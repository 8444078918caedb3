"""What people decide: about a version, and about records of earlier times."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import Digest, DryRun, Reason, Version, audit_trail, console, recorded
from banana_delivery.cli.delivering import launch
from banana_delivery.errors import BadSettingsError
from banana_delivery.policy import commands
from banana_delivery.quoting import one_line
from banana_delivery.settings import load_settings

COLUMNS = ("event", "asset", "version", "run_id", "says")
"""Of a record without a signature."""


def approve(version: Version, reason: Reason, digest: Digest = "", dry_run: DryRun = False) -> Answer:
    """Let a version into production whose A/B report was inconclusive; in a freeze it goes on once that is over."""
    said, put_off = _record_decision("approval", version, reason, digest, dry_run=dry_run)
    if dry_run:
        launched = Answer({"would": []}) if put_off else launch("deliver", [version], "cli", dry_run=True)
        would = {**said.document, "deliveries": launched.document["would"]}
        return Answer({"would": would}, [*said.shown, *launched.shown])
    if put_off:
        return replace(said, document={"decision": said.document, "job": "deliver", "deliveries": []})
    console.print(*said.shown, soft_wrap=True, highlight=False, markup=False)
    launched = launch("deliver", [version], "cli", ["production_release"])
    return replace(launched, document={"decision": said.document, **launched.document})


def override(version: Version, reason: Reason, digest: Digest = "", dry_run: DryRun = False) -> Answer:
    """Let a version into production that was revoked, or that a freeze window keeps out."""
    said, _ = _record_decision("override", version, reason, digest, dry_run=dry_run)
    if dry_run:
        return Answer({"would": said.document}, said.shown)
    return replace(said, shown=[*said.shown, f"To deliver it now, type: {commands.deliver(version)}"])


def withdraw(version: Version, reason: Reason, dry_run: DryRun = False) -> Answer:
    """Take back what was approved or overridden of a version, by whomever; so a freeze's end begins nothing of it."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.deciding import decisions
    from banana_delivery.platforms import platform

    settings = load_settings()
    parts, by = build_resources(settings), decisions.decided_by(platform(settings).user(settings))
    if version == "latest":  # Otherwise the registry is not asked: what only keeps something out needs it not.
        version = parts.model_registry.describe(version).version
    with audit_trail(settings) as log:
        done = decisions.withdraw(log, settings, parts.clock, version, reason, by, dry_run=dry_run)
    counts_no_more, *becomes = done.sentences
    shown = [f"{recorded(dry_run=dry_run)}, {by}: {counts_no_more}", *becomes]
    taken_back = [one.model_dump(mode="json") for one in done.taken_back]
    document = {**done.said.model_dump(mode="json"), "taken_back": taken_back, "under_way": done.under_way}
    return Answer({"would": document} if dry_run else document, shown)


def adopt_records(
    yes: Annotated[bool, typer.Option("--yes", help="Adopt them without asking.")] = False,
    dry_run: DryRun = False,
) -> Answer:
    """Show the records that bear no signature, as earlier versions wrote them, and have them believed from then on."""
    from banana_delivery.reports.terminal import unsigned_view

    settings = load_settings()
    with audit_trail(settings) as log:
        found = log.unsigned()
        if not found:
            return Answer({"records": [], "adopted": False}, ["Every record is signed or adopted already."])
        rows = [(one.event, one.asset, one.version, one.run_id, one.says) for one in found]
        console.print(unsigned_view(rows))
        document = {"records": [dict(zip(COLUMNS, row, strict=True)) for row in rows], "adopted": not dry_run}
        if dry_run:
            return Answer(document, [f"{len(found)} records would count from then on."])
        if not yes:
            typer.confirm(f"Are these {len(found)} records this pipeline's own, and true?", abort=True)
        log.adopt(found)
    return Answer(document, [f"{len(found)} records count from now on."])


def _record_decision(kind: str, version: str, reason: str, digest: str, *, dry_run: bool) -> tuple[Answer, bool]:
    """What became of a decision, and whether a freeze puts off what follows from it."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.deciding.decisions import decide, decided_by
    from banana_delivery.platforms import platform
    from banana_delivery.policy.asset_records import DecisionKind
    from banana_delivery.policy.gate import GateStatus
    from banana_delivery.policy.model import Outcome
    from banana_delivery.policy.outcomes import CONSEQUENCES

    settings = load_settings()
    parts = build_resources(settings)
    by = decided_by(platform(settings).user(settings))
    try:
        policy = parts.policy_file.policy
    except BadSettingsError:
        if dry_run:
            raise
        policy = None  # What is decided counts all the same, and a delivery says what is wrong with the file.
    said, gate = decide(
        settings,
        parts.model_registry,
        parts.clock,
        DecisionKind(kind),
        version,
        digest,
        reason,
        by,
        policy=policy,
        dry_run=dry_run,
    )
    what = f"{said.by}: {said.kind} of version {said.version} as {said.digest[:19]}, which counts for "
    shown = [f"{recorded(dry_run=dry_run)}, {what}{settings.decision_hours:g} h."]
    document = {**said.model_dump(mode="json"), "hours": settings.decision_hours}
    if gate is None or not (dry_run or said.frozen):
        return Answer(document, shown), False
    lets_in = (
        "Then the gate would let it in: " if gate.status is GateStatus.OPEN else "It would stay out all the same: "
    )
    shown.append(f"{lets_in if dry_run else ''}{one_line(gate.reason)}")
    code = 0 if dry_run else CONSEQUENCES[Outcome.PARKED].exit_code
    return Answer({**document, "gate": gate.model_dump(mode="json")}, shown, code), said.frozen
