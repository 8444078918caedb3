"""The embedded stack: started, stopped and played with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from banana_delivery.cli.common import console
from banana_delivery.errors import BadSettingsError, BananaDeliveryError
from banana_delivery.platforms import platform
from banana_delivery.quoting import one_line
from banana_delivery.settings import Settings, load_settings


def up() -> None:
    """Start the embedded stack and leave it running."""
    from banana_delivery.embedded.stack import EmbeddedStack
    from banana_delivery.notifications.notifier import notifier_for

    settings = load_settings()
    if problems := notifier_for(settings).problems():
        # Before anything runs: whoever believes to be told at night, and is not, learns it while looking at it.
        raise BadSettingsError(f"Nothing was started. {' '.join(problems)}")
    EmbeddedStack(settings, platform(settings).processes(settings)).up(console.print)
    _say_webhook(settings)
    console.print(f"Deliveries  {settings.dagster_url}/delivery")
    console.print(f"Dagster     {settings.dagster_url}")
    console.print(f"MLflow      {settings.mlflow_url}")
    if platform(settings).is_ours:
        console.print(f"Production  http://127.0.0.1:{settings.production_port}/docs")


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
) -> None:
    """Have MLflow tell the receiver of stagings, so that deliveries begin at once; needed once, and harmless again."""
    settings = load_settings()
    tracking = os.environ.get("MLFLOW_TRACKING_URI", settings.mlflow_url)
    console.print(_register(settings, tracking, url), highlight=False, markup=False, soft_wrap=True)


def _register(settings: Settings, tracking_uri: str, receiver: str) -> str:
    from banana_delivery.model_registry.webhooks.registration import register
    from banana_delivery.model_registry.webhooks.secret import webhook_secret

    said = register(tracking_uri, settings.model_name, f"{receiver.rstrip('/')}/mlflow", webhook_secret(settings))
    return one_line(said)  # It may cite what answers there.


def down() -> None:
    """Stop the embedded stack; what it knows stays."""
    from banana_delivery.embedded.stack import EmbeddedStack

    settings = load_settings()
    EmbeddedStack(settings, platform(settings).processes(settings)).down(console.print)


def demo(
    summary: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
    gateway: Annotated[
        str, typer.Option(help="Where the cluster's Gateway answers, with BANANA_TARGET=kubernetes.")
    ] = "",
) -> None:
    """Play deliveries of real models through the stack, under client load."""
    from banana_delivery.demo.runner import run_demo

    raise typer.Exit(0 if run_demo(load_settings(), console, summary, gateway) else 1)
