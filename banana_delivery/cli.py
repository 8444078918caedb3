"""The command line: ``banana-delivery``. Each command talks; the work is done elsewhere."""

from __future__ import annotations

import getpass
import time
from collections.abc import Collection
from contextlib import ExitStack
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from banana_delivery import policy_commands
from banana_delivery.errors import BananaDeliveryError, TargetError
from banana_delivery.platforms import platform
from banana_delivery.policy import commands
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.policy.staged_versions import is_version
from banana_delivery.quoting import cited, in_terminal, visible
from banana_delivery.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Takes a YOLO detector from MLflow Staging to all of production's traffic, or safely back.",
)
policy_commands.register(app)
console = Console()
Reason = Annotated[str, typer.Option(help="Why, in one sentence; it goes into the audit trail.")]
Digest = Annotated[str, typer.Option(help="The image it is about; without it, the version's latest.")]


def _version(typed: str) -> str:
    """A version as it was typed, if it is one.

    Raises:
        typer.BadParameter: otherwise.
    """
    if typed != "latest" and not is_version(typed):
        raise typer.BadParameter(f"{cited(typed)} is no version number of MLflow, such as 7.")
    return typed


def _version_if_any(typed: str) -> str:
    return _version(typed) if typed else ""


def _versions(typed: list[str]) -> list[str]:
    return [_version(one) for one in typed]


Version = Annotated[str, typer.Argument(help="MLflow model version.", callback=_version)]


@app.command()
def up() -> None:
    """Start the embedded stack and leave it running."""
    from banana_delivery.embedded.stack import EmbeddedStack
    from banana_delivery.notifications.notifier import notifier_for

    settings = load_settings()
    EmbeddedStack(settings, platform(settings).processes(settings)).up(console.print)
    for problem in notifier_for(settings).problems():
        console.print(problem, style="red", highlight=False)
    console.print(f"Dagster     {settings.dagster_url}")
    console.print(f"MLflow      {settings.mlflow_url}")
    if platform(settings).is_ours:
        console.print(f"Production  http://127.0.0.1:{settings.production_port}/docs")


@app.command()
def down() -> None:
    """Stop the embedded stack; what it knows stays."""
    from banana_delivery.embedded.stack import EmbeddedStack

    settings = load_settings()
    EmbeddedStack(settings, platform(settings).processes(settings)).down(console.print)


@app.command()
def demo(
    summary: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
    gateway: Annotated[
        str, typer.Option(help="Where the cluster's Gateway answers, with BANANA_TARGET=kubernetes.")
    ] = "",
) -> None:
    """Play deliveries of real models through the stack, under client load."""
    from banana_delivery.demo.runner import run_demo

    raise typer.Exit(0 if run_demo(load_settings(), console, summary, gateway) else 1)


@app.command()
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
    waiting, attempts, decisions, unsigned, said = [], [], [], 0, None
    with open_instance_if_it_answers(settings) as instance:
        if instance:
            queue = Runs(instance, location).waiting()
            waiting = [f"version {location.version_of(run)} ({trigger_of(run.tags)})" for run in queue]
            log = AuditLog(instance, location)
            attempts, unsigned = list(islice(log.each_readable(), 10)), len(log.unsigned(LOOKED_AT))
            said = log.freeze()
            memory = sightings(settings, SystemClock())
            decisions = [
                (one, left(one, memory, settings), is_spent(one, [*log.each_readable(one.version)]))
                for one in log.decisions(latest=LOOKED_AT)
            ]
    console.print(status_view(records, attempts, time.time(), observed=observed, waiting=waiting))
    console.print(policy_commands.freeze_view(settings, said, time.time()))
    ticks = ticks_view(Ticks(settings.home).last(), time.time())
    console.print(decisions_view(decisions, unsigned), ticks, sep="\n")


@app.command()
def deliver(version: Version) -> None:
    """Deliver a version as a whole, whether it is staged or not; `latest` is the highest number."""
    settings = load_settings()
    _launch(settings, "deliver", [version], "cli")


@app.command()
def redeploy(
    versions: Annotated[
        list[str], typer.Argument(help="MLflow model versions, in the order wanted.", callback=_versions)
    ],
) -> None:
    """Put versions that were released before into production again, one after the other, in the order typed."""
    _launch(load_settings(), "redeploy", versions, "redeploy")


@app.command()
def rollback(
    reason: Reason,
    version: Annotated[
        str, typer.Argument(help="What has to go; without it, whatever is in production.", callback=_version_if_any)
    ] = "",
    to: Annotated[
        str,
        typer.Option(
            help="The released version that is to serve; without it, the one before.", callback=_version_if_any
        ),
    ] = "",
) -> None:
    """Give production's traffic back to the release before, and revoke the one that had it."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.launch import claimed_by
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
        done = emergency.roll_back(actor=claimed_by(), reason=reason, version=version, to=to)
    console.print(
        f"Version {done.version} is out of production; version {done.serving_version or 'none'} serves "
        f"({done.rollback_seconds:.1f} s)."
    )


@app.command()
def approve(version: Version, reason: Reason, digest: Digest = "") -> None:
    """Let a version into production whose A/B report was inconclusive."""
    _record_decision("approval", version, reason, digest)
    _launch(load_settings(), "deliver", [version], "cli", assets=["production_release"])


@app.command()
def override(version: Version, reason: Reason, digest: Digest = "") -> None:
    """Let a version into production that was revoked, or that a freeze window keeps out."""
    _record_decision("override", version, reason, digest)
    console.print(f"To deliver it now, type: {commands.deliver(version)}")


@app.command("adopt-records")
def adopt_records(
    yes: Annotated[bool, typer.Option("--yes", help="Adopt them without asking.")] = False,
) -> None:
    """Show the records that bear no signature, as earlier versions wrote them, and have them believed from then on."""
    from banana_delivery.reports.terminal import unsigned_view
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.instance import open_instance

    settings = load_settings()
    with open_instance(settings) as instance:
        log = AuditLog(instance, CodeLocation.of(settings))
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


@app.command()
def resume(environment: Annotated[Environment, typer.Argument()] = Environment.PRODUCTION) -> None:
    """End the hold after a hand edit: the active colour as recorded, with all traffic, and deliveries may go on."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery import recovery

    resources = build_resources(load_settings())
    recovery.resume(resources.release_target, environment, getpass.getuser(), resources.clock)
    console.print(f"{environment.capitalize()} is the pipeline's again.")


@app.command()
def restore(
    environment: Annotated[Environment, typer.Option(help="Whose record was lost.")] = Environment.PRODUCTION,
    active: Annotated[
        Colour | None, typer.Option(help="The colour that owns the traffic, where that cannot be told.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Store it without asking.")] = False,
) -> None:
    """Write an environment's lost record anew, from its copy or from what runs, and show it before."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery import recovery
    from banana_delivery.reports.terminal import record_view

    resources = build_resources(load_settings())
    record = recovery.restorable(resources.release_target, environment, active)
    console.print(record_view(record, resources.clock.time()))
    if not yes:
        typer.confirm("Is this what runs, and who is to have the users?", abort=True)
    recovery.restore(resources.release_target, record, f"{getpass.getuser()} (restore)")
    console.print(f"The record of {environment} is stored, and its weights are in force.")


@app.command()
def prune(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what goes, instead of only showing it.")] = False,
) -> None:
    """Show which images stay, which go, and why; and what old deliveries left beside them."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.image_build import in_use
    from banana_delivery.delivery.upkeep.home import prune_home
    from banana_delivery.reports.terminal import home_view, retention_view
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.instance import open_instance

    settings = load_settings()
    resources = build_resources(settings)
    with open_instance(settings) as instance:
        audit_log = AuditLog(instance, CodeLocation.of(settings))

        def used() -> Collection[str]:
            return in_use(audit_log, resources.release_target, settings, time.time())

        decisions = resources.image_store.prune(settings.keep_versions, used, dry_run=not delete)
        removals = prune_home(audit_log, settings, used(), time.time(), dry_run=not delete)
    console.print(retention_view(decisions, dry_run=not delete))
    left = [(one.kept.kind.value, one.keep, one.kept.path, one.kept.size) for one in removals]
    console.print(home_view(left, dry_run=not delete))


@app.command()
def rebuild(version: Version) -> None:
    """Build a version's image once more, keeping nothing, and say whether it is the same or what differs."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.image_build import rebuild as build_again
    from banana_delivery.runs.audit_log import AuditLog
    from banana_delivery.runs.code_location import CodeLocation
    from banana_delivery.runs.instance import open_instance

    settings = load_settings()
    with open_instance(settings) as instance:
        audit_log, store = AuditLog(instance, CodeLocation.of(settings)), build_resources(settings).image_store
        parity = build_again(audit_log, store, version, console.print, settings.source_url)
    image = f"version {version}, {parity.ref.digest[:19]}"
    if parity.proven:
        console.print(f"Building {image} again gives the same in every layer and label.")
        return
    console.print(f"Building {image} again gives something else:", *parity.differences, sep="\n  ")
    raise typer.Exit(1)


def _record_decision(kind: str, version: str, reason: str, digest: str) -> None:
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.launch import decide
    from banana_delivery.policy.asset_records import DecisionKind

    settings = load_settings()
    parts = build_resources(settings)
    said = decide(settings, parts.model_registry, parts.clock, DecisionKind(kind), version, digest, reason)
    console.print(
        f"Recorded, {said.by}: {said.kind} of version {said.version} as {said.digest[:19]}, which counts for "
        f"{settings.decision_hours:g} h.",
        soft_wrap=True,
    )


def _launch(settings: Settings, job: str, versions: list[str], trigger: str, assets: list[str] | None = None) -> None:
    """Run a job for one version after the other and show how each ended; the first failure ends it."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.launch import claimed_by, deliver_one

    resources = build_resources(settings)
    for asked in versions:
        version = resources.model_registry.describe(asked).version
        attempt = deliver_one(settings, job, version, trigger, claimed_by(), assets or [], console)
        if attempt is None or attempt.outcome.value not in {"released", "parked"}:
            raise typer.Exit(1)


def main() -> None:
    """Run the command line; what goes wrong is one sentence, not a stack trace."""
    try:
        app()
    except BananaDeliveryError as error:
        _end(str(error))
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _end(f"{what}{error.strerror or error}; see whether BANANA_HOME ({load_settings().home}) can be used.")
    except Exception as error:  # noqa: BLE001 - a person at night reads a sentence; the trace is kept for the others
        said = (str(error).strip() or "it said nothing").splitlines()[0]
        _end(f"Nobody expected this ({type(error).__name__}): {said}{_kept_trace()}")


def _end(sentence: str) -> NoReturn:
    lines = map(visible, sentence.split("\n"))
    console.print("\n".join(lines), style="red", highlight=False, markup=False, soft_wrap=True)
    raise SystemExit(2) from None


def _kept_trace() -> str:
    """Where the stack trace is; empty if it could not be kept."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="banana-delivery-", suffix=".trace", delete=False) as file:
            traceback.print_exc(file=file)
            return f"\nFor whoever mends it: {file.name}"
    except OSError:
        return ""
