"""Showing what is."""

from __future__ import annotations

import getpass
import time
from itertools import islice

import typer

from banana_delivery.cli.common import console
from banana_delivery.errors import BadSettingsError, TargetError
from banana_delivery.policy.model import Environment
from banana_delivery.quoting import in_terminal
from banana_delivery.settings import load_settings


def status() -> None:
    """Show environments, what runs and differs from the record, what waits, and the last outcomes."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.rescue.ticks import Ticks
    from banana_delivery.policy.gate import is_spent
    from banana_delivery.reports.terminal import decisions_view, status_view, ticks_view
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.evidence.expiry import LOOKED_AT, left
    from banana_delivery.runs.instance import open_instance_if_it_answers
    from banana_delivery.runs.lifecycle import Runs, trigger_of
    from banana_delivery.targets.sightings import sightings
    from banana_delivery.waiting import SystemClock

    settings = load_settings()
    target, location = build_resources(settings).release_target, CodeLocation.of(settings)
    records, observed = [], {}
    for environment in Environment:
        try:
            records.append(target.record(environment))
            observed[environment] = target.observed(environment)
        except TargetError as error:
            console.print(
                f"{environment.capitalize()} cannot be seen: {in_terminal(str(error))}", style="red", highlight=False
            )
    waiting, attempts, decisions, unsigned = [], [], [], 0
    with open_instance_if_it_answers(settings) as instance:
        if instance:
            queue = Runs(instance, location).waiting()
            waiting = [f"version {location.version_of(run)} ({trigger_of(run.tags)})" for run in queue]
            log = AuditLog(instance, location)
            attempts, unsigned = list(islice(log.each_readable(), 10)), len(log.unsigned(LOOKED_AT))
            memory = sightings(settings, SystemClock())
            decisions = [
                (one, left(one, memory, settings), is_spent(one, [*log.each_readable(one.version)]))
                for one in log.decisions(latest=LOOKED_AT)
            ]
    console.print(status_view(records, attempts, time.time(), observed=observed, waiting=waiting))
    console.print(decisions_view(decisions, unsigned))
    console.print(ticks_view(Ticks(settings.home).last(), time.time()))


def doctor() -> None:
    """Look at everything that a delivery needs here, a line each, and say what to do about what is wrong."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.upkeep.doctor import Doctor

    settings = load_settings()
    parts = build_resources(settings)
    examined = Doctor(
        settings, parts.model_registry, parts.image_store, parts.release_target, parts.notifier, parts.clock.time()
    ).examine()
    wrong = 0
    for found in examined:
        wrong += found.wrong
        mark = "[red]wrong[/red]" if found.wrong else "[green]ok[/green]   "
        console.print(f"{mark}  {found.part:<10}  ", end="")
        console.print(in_terminal(found.said), highlight=False, markup=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def notify_test() -> None:
    """Send a test message to every channel of BANANA_NOTIFY_URLS and say what each made of it."""
    import socket

    from banana_delivery.notifications.notifier import notifier_for
    from banana_delivery.notifications.upkeep import trial

    settings = load_settings()
    if not settings.notify_urls:
        raise BadSettingsError("There is no channel to try; name them in BANANA_NOTIFY_URLS, as JSON.")
    failed = False
    for said, taken in notifier_for(settings).try_channels(
        trial(settings.model_name, getpass.getuser(), socket.gethostname())
    ):
        failed |= not taken
        console.print(said, style="" if taken else "red", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
