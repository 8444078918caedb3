"""Bringing production back: from a bad release, a hand edit or a lost record."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import DryRun, Reason, audit_trail, console, recorded, version_if_any
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase
from banana_delivery.settings import load_settings

if TYPE_CHECKING:
    from banana_delivery.policy.holds import AbortRecord, PauseRecord
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.targets.base import ReleaseTarget
    from banana_delivery.waiting import Clock


def rollback(
    reason: Reason,
    version: Annotated[
        str,
        typer.Argument(help="What has to go; without it, whatever is in production.", callback=version_if_any),
    ] = "",
    to: Annotated[
        str,
        typer.Option(
            help="The released version that is to serve; without it, the one before.", callback=version_if_any
        ),
    ] = "",
    dry_run: DryRun = False,
) -> Answer:
    """Give production's traffic back to the release before, and revoke the one that had it."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.deciding.decisions import claimed_by
    from banana_delivery.delivery.rescue.emergency import EmergencyRollback
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.instance import open_instance_if_it_answers

    settings = load_settings()
    resources = build_resources(settings)
    with ExitStack() as opened:

        @cache
        def history() -> AuditLog | None:
            instance = opened.enter_context(open_instance_if_it_answers(settings))
            if instance is None:
                console.print("Dagster's instance does not answer; this goes on its record when it is back.")
            return AuditLog(instance, CodeLocation.of(settings)) if instance else None

        emergency = EmergencyRollback(
            resources.release_target, resources.recorder, history, console.print, resources.image_store
        )
        if dry_run:
            bad, good = emergency.sides(version=version, to=to)
            said = f"Would take version {bad.version} out of production; version {good.version if good else 'none'} "
            return Answer({"would": _sides(bad, good)}, [f"{said}would serve."])
        done = emergency.roll_back(actor=claimed_by(), reason=reason, version=version, to=to)
    return Answer(
        {"attempt": done.model_dump(mode="json", exclude={"steps"})},
        [
            f"Version {done.version} is out of production; version {done.serving_version or 'none'} serves "
            f"({done.rollback_seconds:.1f} s)."
        ],
    )


def _sides(bad: ImageRef, good: ImageRef | None) -> dict[str, object]:
    return {
        "version": bad.version,
        "digest": bad.digest,
        "serving_version": good.version if good else "",
        "serving_digest": good.digest if good else "",
    }


def pause(reason: Reason, dry_run: DryRun = False) -> Answer:
    """Keep the delivery in production at its weight: a fault still turns it back, and nothing moves it forward."""
    return _say_pause(reason, paused=True, dry_run=dry_run)


def abort(
    reason: Reason,
    version: Annotated[
        str,
        typer.Argument(help="What is delivered; without it, whatever is under way.", callback=version_if_any),
    ] = "",
    dry_run: DryRun = False,
) -> Answer:
    """End a delivery that waits or is under way: its users go back to what serves, and its version stays staged."""
    from banana_delivery.delivery.deciding.aborting import say_abort

    with _deciding() as (target, log, clock, by):
        done = say_abort(target, log, clock, by, reason, version=version, dry_run=dry_run)
    if dry_run:
        return _told(done.said, f"{done.said.by}: the delivery of version {done.said.version} ends", dry_run=True)
    document = {**done.said.model_dump(mode="json"), "told": done.told}
    return Answer(document, [f"Recorded, {done.said.by}: {done.sentence}."])


def resume(
    environment: Annotated[Environment, typer.Argument()] = Environment.PRODUCTION,
    reason: Annotated[str, typer.Option(help="Why a paused delivery goes on; it goes into the audit trail.")] = "",
    dry_run: DryRun = False,
) -> Answer:
    """Let a paused delivery go on; or end the hold after a hand edit, with all traffic on the active colour."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery import recovery

    resources = build_resources(load_settings())
    held = resources.release_target.record(environment).phase is Phase.DRIFTED
    if environment is Environment.PRODUCTION and not held:
        return _say_pause(reason, paused=False, dry_run=dry_run)
    if dry_run:
        record = recovery.held(resources.release_target, environment)
        would = {"environment": environment.value, "active": record.active, "note": record.note}
        what = f"all traffic to {record.active}" if record.active else "no traffic to anybody"
        return Answer({"would": would}, [f"Would end the hold of {environment} ({record.note}), and give {what}."])
    recovery.resume(resources.release_target, environment, getpass.getuser(), resources.clock)
    return Answer({"environment": environment.value}, [f"{environment.capitalize()} is the pipeline's again."])


@contextmanager
def _deciding() -> Iterator[tuple[ReleaseTarget, AuditLog, Clock, str]]:
    """What a decision about the delivery under way takes: the target, the audit trail, the clock, and who decides."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.deciding.decisions import decided_by
    from banana_delivery.platforms import platform

    settings = load_settings()
    parts = build_resources(settings)
    by = decided_by(platform(settings).user(settings))
    with audit_trail(settings) as log:
        yield parts.release_target, log, parts.clock, by


def _told(said: PauseRecord | AbortRecord, what: str, *, dry_run: bool) -> Answer:
    document = said.model_dump(mode="json")
    return Answer({"would": document} if dry_run else document, [f"{recorded(dry_run=dry_run)}, {what}."])


def _say_pause(reason: str, *, paused: bool, dry_run: bool) -> Answer:
    from banana_delivery.delivery.live.pausing import say_pause

    with _deciding() as (target, log, clock, by):
        said = say_pause(target, log, clock, by, reason, paused=paused, dry_run=dry_run)
    what = "stays at its weight, watched" if paused else "goes on"
    return _told(said, f"{said.by}: version {said.version} {what}", dry_run=dry_run)


def restore(
    environment: Annotated[Environment, typer.Option(help="Whose record was lost.")] = Environment.PRODUCTION,
    active: Annotated[
        Colour | None, typer.Option(help="The colour that owns the traffic, where that cannot be told.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Store it without asking.")] = False,
    dry_run: DryRun = False,
) -> Answer:
    """Write an environment's lost record anew, from its copy or from what runs, and show it before."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery import recovery
    from banana_delivery.reports.terminal import record_view

    resources = build_resources(load_settings())
    record = recovery.restorable(resources.release_target, environment, active)
    console.print(record_view(record, resources.clock.time()))
    document = {"record": record.model_dump(mode="json"), "stored": not dry_run}
    if dry_run:
        return Answer(document, [f"This would be stored as the record of {environment}."])
    if not yes:
        typer.confirm("Is this what runs, and who is to have the users?", abort=True)
    recovery.restore(resources.release_target, record, f"{getpass.getuser()} (restore)")
    return Answer(document, [f"The record of {environment} is stored, and its weights are in force."])
