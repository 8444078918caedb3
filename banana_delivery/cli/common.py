"""What commands share: where they print, and the arguments that many of them take."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from banana_delivery.delivery.upkeep.settings_file import SettingsFile
from banana_delivery.policy.staged_versions import is_version
from banana_delivery.quoting import cited
from banana_delivery.settings import Settings

if TYPE_CHECKING:
    from banana_delivery.runs.audit_log import AuditLog

console = Console()
errors = Console(stderr=True)
"""For what went wrong, so that what a command shows can be passed on."""
Reason = Annotated[str, typer.Option(help="Why, in one sentence; it goes into the audit trail.")]
Digest = Annotated[str, typer.Option(help="The image it is about; without it, the version's latest.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and change nothing.")]


def checked_version(typed: str) -> str:
    """A version as it was typed, if it is one.

    Raises:
        typer.BadParameter: otherwise.
    """
    if typed != "latest" and not is_version(typed):
        raise typer.BadParameter(f"{cited(typed)} is no version number of MLflow, such as 7.")
    return typed


def version_if_any(typed: str) -> str:
    """The same for an argument that may be left out."""
    return checked_version(typed) if typed else ""


def checked_versions(typed: list[str]) -> list[str]:
    """The same for each of several."""
    return [checked_version(one) for one in typed]


def recorded(*, dry_run: bool) -> str:
    """How a sentence begins that tells what a person said, or what would be told of it."""
    return "Would record" if dry_run else "Recorded"


def settings_file(context: typer.Context) -> SettingsFile:
    """The settings file that this command was started with."""
    found = context.find_object(SettingsFile)
    assert found is not None, "The program gives every command one."
    return found


Version = Annotated[str, typer.Argument(help="MLflow model version.", callback=checked_version)]


@contextmanager
def audit_trail(settings: Settings) -> Iterator[AuditLog]:
    """The audit trail of this pipeline, in Dagster's instance.

    Raises:
        InstanceError: if the instance cannot be opened.
    """
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.instance import open_instance

    with open_instance(settings) as instance:
        yield AuditLog(instance, CodeLocation.of(settings))


@contextmanager
def cleared_up() -> Iterator[None]:
    """Let the block end as by Ctrl-C when this process is told to end, so that nothing that it began stays behind."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    told = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, end) for one in told}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
