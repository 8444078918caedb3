"""Showing what is."""

from __future__ import annotations

import getpass
import json
import time
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from banana_delivery.cli.common import console
from banana_delivery.cli.freezing import freeze_view
from banana_delivery.errors import BadSettingsError, TargetError, redacted
from banana_delivery.policy.model import Environment
from banana_delivery.quoting import in_terminal, one_line
from banana_delivery.settings import PREFIX, Settings, load_settings
from banana_delivery.targets.base import ReleaseTarget

if TYPE_CHECKING:
    from banana_delivery.reports.overview import Overview
    from banana_delivery.runs.audit_log import AuditLog

WATCH_SECONDS = 1.0
SHOWN = 10
"""How many of the last attempts."""


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON document, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew each second, until Ctrl-C.")] = False,
) -> None:
    """Show environments, what runs and differs from the record, what waits, and the last outcomes."""
    from rich.live import Live

    from banana_delivery.defs.build import build_resources
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.instance import open_instance_if_it_answers

    if as_json and watch:
        raise typer.BadParameter("--json is printed once, and --watch shows it again and again; choose one.")
    settings = load_settings()
    target = build_resources(settings).release_target
    with open_instance_if_it_answers(settings) as instance:
        log = AuditLog(instance, CodeLocation.of(settings)) if instance else None
        if as_json:
            # Not by the console, which breaks lines.
            typer.echo(json.dumps(_overview(settings, target, log).json(), indent=2))
            return
        if not watch:
            console.print(_overview(settings, target, log).view())
            return
        with Live(console=console, screen=True, auto_refresh=False) as live, suppress(KeyboardInterrupt):
            while True:
                live.update(_overview(settings, target, log).view(), refresh=True)
                time.sleep(WATCH_SECONDS)


def _overview(settings: Settings, target: ReleaseTarget, log: AuditLog | None) -> Overview:
    """All that can be seen now; what does not answer is among it."""
    from banana_delivery.delivery.rescue.ticks import Ticks
    from banana_delivery.policy.gate import is_spent
    from banana_delivery.reports.overview import Overview
    from banana_delivery.runs.evidence.expiry import LOOKED_AT, left
    from banana_delivery.runs.lifecycle import Runs, trigger_of
    from banana_delivery.targets.sightings import sightings
    from banana_delivery.waiting import SystemClock

    records, observed, unseen = [], {}, {}
    for environment in Environment:
        try:
            records.append(target.record(environment))
            observed[environment] = target.observed(environment)
        except TargetError as error:
            unseen[environment] = str(error)
    now, ticks = time.time(), Ticks(settings.home).last()
    seen = Overview(now, records, observed, unseen, freeze=freeze_view(settings, None, now, asked=False), ticks=ticks)
    if log is None:
        return seen
    memory, queue = sightings(settings, SystemClock()), Runs(log.instance, log.location).waiting()
    return replace(
        seen,
        waiting=[f"version {log.location.version_of(run)} ({trigger_of(run.tags)})" for run in queue],
        attempts=list(islice(log.each_readable(), SHOWN)),
        unsigned=len(log.unsigned(LOOKED_AT)),
        freeze=freeze_view(settings, log.freeze(), now),
        decisions=[
            (one, left(one, memory, settings), is_spent(one, [*log.each_readable(one.version)]))
            for one in log.decisions(latest=LOOKED_AT)
        ],
    )


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as one JSON document, for programs.")] = False,
) -> None:
    """Show every setting with its value and whether a variable sets it; secrets stay hidden."""
    from rich.table import Table
    from rich.text import Text

    in_force = load_settings()
    values = in_force.model_dump(mode="json")
    by_variable = {name for name in values if name in in_force.model_fields_set}
    if as_json:
        rows = {name: {"value": value, "set": name in by_variable} for name, value in values.items()}
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("Variable", "Value", "From")
    for name, value in values.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        table.add_row(
            f"{PREFIX}{name.upper()}", Text(one_line(redacted(shown))), "variable" if name in by_variable else "default"
        )
    console.print(table)


def doctor() -> None:
    """Look at everything that a delivery needs here, a line each, and say what to do about what is wrong."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.upkeep.doctor import Doctor

    in_force = load_settings()
    parts = build_resources(in_force)
    examined = Doctor(
        in_force, parts.model_registry, parts.image_store, parts.release_target, parts.notifier, parts.clock.time()
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
