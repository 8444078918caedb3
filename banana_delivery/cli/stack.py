"""The embedded stack: started, stopped and played with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from banana_delivery.cli.common import console
from banana_delivery.platforms import platform
from banana_delivery.settings import load_settings


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
