"""The embedded stack: started, stopped and played with."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import DryRun, console, settings_file
from banana_delivery.delivery.upkeep.settings_file import SettingsFile
from banana_delivery.errors import BadSettingsError, BananaDeliveryError, redacted
from banana_delivery.platforms import platform
from banana_delivery.quoting import one_line
from banana_delivery.settings import Settings, load_settings

NAMES = {"mlflow": "MLflow"}
"""As they write themselves."""


def up(context: typer.Context, dry_run: DryRun = False) -> Answer:
    """Start the embedded stack and leave it running."""
    from banana_delivery.embedded.stack import EmbeddedStack
    from banana_delivery.notifications.notifier import notifier_for

    settings = load_settings()
    if problems := notifier_for(settings).problems():
        # Before anything runs: whoever believes to be told at night, and is not, learns it while looking at it.
        raise BadSettingsError(f"Nothing was started. {' '.join(problems)}")
    stack = EmbeddedStack(settings, platform(settings).processes(settings))
    pages = _pages(settings)
    if dry_run:
        plan = stack.would_start()
        return Answer({"would": asdict(plan), "pages": pages}, plan.lines())
    stack.up(console.print)
    _say_webhook(settings)
    written, lacking = _remember(settings, settings_file(context))
    shown = [f"{NAMES.get(name, name.capitalize()):<11} {address}" for name, address in pages.items()]
    return Answer({"pages": pages, "settings_written": written, "settings_lacking": lacking}, shown)


def _pages(settings: Settings) -> dict[str, str]:
    """Where people find what, by name."""
    production = f"http://127.0.0.1:{settings.production_port}/docs"
    return {
        "deliveries": f"{settings.dagster_url}/delivery",
        "dagster": settings.dagster_url,
        "mlflow": settings.mlflow_url,
        **({"production": production} if platform(settings).is_ours else {}),
    }


def _remember(settings: Settings, file: SettingsFile) -> tuple[list[str], list[str]]:
    """Keep for other shells what this one said; the stack runs all the same where that cannot be kept."""
    try:
        written, lacking = file.remember(settings, os.environ)
    except OSError as error:
        said = f"{file.path} could not be written ({error.strerror}): in another shell, set the same variables."
        console.print(said, style="yellow", highlight=False, markup=False, soft_wrap=True)
        return [], []
    if written:
        said = f"For other shells, {file.path} has: {', '.join(written)}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    if lacking:
        said = f"Not written there, since they are secret; set them in other shells too: {', '.join(lacking)}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    return written, lacking


def _say_webhook(settings: Settings) -> None:
    """Have the stack's own MLflow ring for each staging; deliveries start without it, a few seconds later."""
    from banana_delivery.embedded.processes import webhook_url

    named = (os.environ.get(name, settings.mlflow_url) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))
    if any(uri.rstrip("/") != settings.mlflow_url for uri in named):
        return  # A server elsewhere is somebody's to tell: `register-webhook`. It may have an address that works.
    try:
        said = _register(settings, settings.mlflow_url, webhook_url(settings))
    except BananaDeliveryError as error:
        console.print(one_line(str(error)), style="red", highlight=False, markup=False)
    else:
        console.print(said, highlight=False, markup=False)


def register_webhook(
    url: Annotated[str, typer.Argument(help="Where MLflow reaches the receiver, such as https://hooks.example.com.")],
    dry_run: DryRun = False,
) -> Answer:
    """Have MLflow tell the receiver of stagings, so that deliveries begin at once; needed once, and harmless again."""
    settings = load_settings()
    tracking = os.environ.get("MLFLOW_TRACKING_URI", settings.mlflow_url)
    document = {"model": settings.model_name, "receiver": one_line(url)}
    if dry_run:
        said = f"Would have MLflow at {one_line(redacted(tracking))} tell {one_line(url)} of {settings.model_name}."
        return Answer(document, [said])
    said = _register(settings, tracking, url)
    return Answer({**document, "said": said}, [said])


def _register(settings: Settings, tracking_uri: str, receiver: str) -> str:
    from banana_delivery.model_registry.webhooks.registration import register
    from banana_delivery.model_registry.webhooks.secret import webhook_secret

    said = register(tracking_uri, settings.model_name, f"{receiver.rstrip('/')}/mlflow", webhook_secret(settings))
    return one_line(said)  # It may cite what answers there.


def down(dry_run: DryRun = False) -> Answer | None:
    """Stop the embedded stack; what it knows stays."""
    from banana_delivery.embedded.stack import EmbeddedStack

    settings = load_settings()
    stack = EmbeddedStack(settings, platform(settings).processes(settings))
    if dry_run:
        stops = [one.name for one in stack.status() if one.pid]
        return Answer({"would": {"stop": stops}}, [f"Would stop: {', '.join(stops) or 'nothing'}."])
    stack.down(console.print)
    return None


def demo(
    summary: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
    gateway: Annotated[
        str, typer.Option(help="Where the cluster's Gateway answers, with BANANA_TARGET=kubernetes.")
    ] = "",
) -> Answer:
    """Play deliveries of real models through the stack, under client load."""
    from banana_delivery.demo.runner import run_demo

    seen, as_told = run_demo(load_settings(), console, summary, gateway)
    return Answer({**seen.model_dump(mode="json"), "as_told": as_told}, exit_code=0 if as_told else 1)
