"""Deliveries that a person starts and waits for."""

from __future__ import annotations

from typing import Annotated

import typer

from banana_delivery.cli.common import Version, checked_versions, console
from banana_delivery.settings import Settings, load_settings


def deliver(version: Version) -> None:
    """Deliver a version as a whole, whether it is staged or not; `latest` is the highest number."""
    settings = load_settings()
    launch(settings, "deliver", [version], "cli")


def redeploy(
    versions: Annotated[
        list[str], typer.Argument(help="MLflow model versions, in the order wanted.", callback=checked_versions)
    ],
) -> None:
    """Put versions that were released before into production again, one after the other, in the order typed."""
    launch(load_settings(), "redeploy", versions, "redeploy")


def launch(settings: Settings, job: str, versions: list[str], trigger: str, assets: list[str] | None = None) -> None:
    """Run a job for one version after the other and show how each ended; the first failure ends it."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.launch import claimed_by, deliver_one

    resources = build_resources(settings)
    for asked in versions:
        version = resources.model_registry.describe(asked).version
        attempt = deliver_one(settings, job, version, trigger, claimed_by(), assets or [], console)
        if attempt is None or attempt.outcome.value not in {"released", "parked"}:
            raise typer.Exit(1)
