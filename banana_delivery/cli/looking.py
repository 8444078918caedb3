"""Showing what is."""

from __future__ import annotations

import getpass
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import console, settings_file
from banana_delivery.delivery.upkeep.settings_file import SettingsFile
from banana_delivery.errors import BadSettingsError, redacted
from banana_delivery.quoting import in_terminal, one_line
from banana_delivery.setting_errors import PREFIX
from banana_delivery.settings import Settings, load_settings
from banana_delivery.targets.base import ReleaseTarget

if TYPE_CHECKING:
    from banana_delivery.runs.audit_log import AuditLog


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON document, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew each second, until Ctrl-C.")] = False,
) -> None:
    """Show environments, what runs and differs from the record, what waits, and the last outcomes."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.live.looking import look_around
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
            typer.echo(json.dumps(look_around(settings, target, log).json(), indent=2))
            return
        if watch:
            _watch(settings, target, log)
            return
        console.print(look_around(settings, target, log).view())


def _watch(settings: Settings, target: ReleaseTarget, log: AuditLog | None) -> None:
    """Show it until Ctrl-C: on one screen, or where there is none as a line for each thing that is new."""
    from rich.live import Live

    from banana_delivery.delivery.live.watcher import Watcher
    from banana_delivery.reports.watching import joined, screen

    with Watcher(settings, target, log) as watcher, suppress(KeyboardInterrupt):
        if not console.is_terminal:
            for line in watcher.news():
                typer.echo(line)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            for seen in watcher.each():
                live.update(joined(screen(seen, console.height)), refresh=True)


def settings(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as one JSON document, for programs.")] = False,
) -> None:
    """Show every setting with its value and where that is from: variable, file or default; secrets stay hidden."""
    from rich.table import Table
    from rich.text import Text

    in_force = load_settings()
    values = in_force.model_dump(mode="json")
    file = settings_file(context)
    origins = {name: _origin(name, in_force, file) for name in values}
    if as_json:
        rows = {
            name: {"value": value, "set": origins[name] != "default", "from": origins[name]}
            for name, value in values.items()
        }
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("Variable", "Value", "From")
    for name, value in values.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        line = file.used.get(f"{PREFIX}{name.upper()}")
        where = f"file, line {line.number}" if line else origins[name]
        table.add_row(f"{PREFIX}{name.upper()}", Text(one_line(redacted(shown))), where)
    console.print(table)
    console.print(f"File: {file.path}", highlight=False, markup=False, soft_wrap=True)


def _origin(name: str, settings: Settings, file: SettingsFile) -> str:
    return file.origin(f"{PREFIX}{name.upper()}") if name in settings.model_fields_set else "default"


def doctor() -> Answer:
    """Look at everything that a delivery needs here, a line each, and say what to do about what is wrong."""
    from rich.text import Text

    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.upkeep.doctor import Doctor

    in_force = load_settings()
    parts = build_resources(in_force)
    examined = Doctor(
        in_force, parts.model_registry, parts.image_store, parts.release_target, parts.notifier, parts.clock.time()
    ).examine()
    lines, findings = [], []
    for found in examined:
        mark = ("wrong", "red") if found.wrong else ("ok   ", "green")
        lines.append(Text.assemble(mark, f"  {found.part:<10}  {in_terminal(found.said)}", no_wrap=True))
        findings.append({"part": found.part, "said": found.said, "wrong": found.wrong})
    return Answer({"findings": findings}, lines, exit_code=int(any(one["wrong"] for one in findings)))


def notify_test() -> Answer:
    """Send a test message to every channel of BANANA_NOTIFY_URLS and say what each made of it."""
    import socket

    from banana_delivery.notifications.notifier import notifier_for
    from banana_delivery.notifications.upkeep import trial

    settings = load_settings()
    if not settings.notify_urls:
        raise BadSettingsError("There is no channel to try; name them in BANANA_NOTIFY_URLS, as JSON.")
    tried = []
    for said, taken in notifier_for(settings).try_channels(
        trial(settings.model_name, getpass.getuser(), socket.gethostname())
    ):
        tried.append({"said": said, "taken": taken})
        console.print(said, style="" if taken else "red", highlight=False, markup=False, soft_wrap=True)
    return Answer({"channels": tried}, exit_code=int(not all(one["taken"] for one in tried)))
