"""Deliveries that a person or a CI server starts and waits for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import DryRun, Version, checked_versions, console
from banana_delivery.settings import load_settings

Server = Annotated[
    str | None,
    typer.Option(help="Dagster's pages elsewhere, such as https://dagster.example.com; nothing else is asked."),
]
Wait = Annotated[bool, typer.Option(help="Stay until it has ended, and say how by the exit code.")]
Timeout = Annotated[float, typer.Option(min=1, max=86_400, help="Seconds to stay at most; the delivery goes on.")]
Summary = Annotated[
    Path | None, typer.Option(envvar="GITHUB_STEP_SUMMARY", help="Add what became of it to this file, in Markdown.")
]


def deliver(
    version: Version,
    server: Server = None,
    wait: Wait = True,
    timeout: Timeout = 3600.0,
    summary: Summary = None,
    dry_run: DryRun = False,
) -> Answer:
    """Deliver a version as a whole, whether it is staged or not; `latest` is the highest number."""
    return launch("deliver", [version], "cli", dry_run=dry_run, server=server, wait=wait, seconds=timeout, page=summary)


def redeploy(
    versions: Annotated[
        list[str], typer.Argument(help="MLflow model versions, in the order wanted.", callback=checked_versions)
    ],
    server: Server = None,
    timeout: Timeout = 3600.0,
    summary: Summary = None,
    dry_run: DryRun = False,
) -> Answer:
    """Put versions that were released before into production again, one after the other, in the order typed."""
    return launch("redeploy", versions, "redeploy", dry_run=dry_run, server=server, seconds=timeout, page=summary)


def launch(
    job: str, versions: list[str], trigger: str, assets: Sequence[str] = (), *, dry_run: bool = False, **wishes: Any
) -> Answer:
    """Run a job for one version after the other, show how each ended, and end as the first that was not released."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.launch import Wish, deliver_all, would_deliver

    settings, asked = load_settings(), (job, trigger, assets)

    def numbered(typed: str) -> str:
        return build_resources(settings).model_registry.describe(typed).version

    wish = Wish(**wishes)
    if dry_run:
        planned = would_deliver(settings, numbered, versions, wish)
        said = [f"Would start the job {job} for version {version} at {server}." for version, server in planned]
        return Answer({"job": job, "would": [{"version": one, "server": at} for one, at in planned]}, said)
    launched, code = deliver_all(settings, numbered, asked, versions, console, wish)
    return Answer({"job": job, "deliveries": [one.json() for one in launched]}, exit_code=code)
