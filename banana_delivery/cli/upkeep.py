"""Images and what deliveries leave behind: kept, removed, built once more."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Annotated

import typer

from banana_delivery.cli.common import Version, audit_trail, console
from banana_delivery.settings import load_settings


def prune(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what goes, instead of only showing it.")] = False,
) -> None:
    """Show which images stay, which go, and why; and what old deliveries left beside them."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.image_build import in_use
    from banana_delivery.delivery.upkeep.home import prune_home
    from banana_delivery.reports.terminal import home_view, retention_view

    settings = load_settings()
    resources = build_resources(settings)
    with audit_trail(settings) as audit_log:

        def used() -> Collection[str]:
            return in_use(audit_log, resources.release_target, settings, time.time())

        decisions = resources.image_store.prune(settings.keep_versions, used, dry_run=not delete)
        removals = prune_home(audit_log, settings, used(), time.time(), dry_run=not delete)
    console.print(retention_view(decisions, dry_run=not delete))
    left = [(one.kept.kind.value, one.keep, one.kept.path, one.kept.size) for one in removals]
    console.print(home_view(left, dry_run=not delete))


def rebuild(version: Version) -> None:
    """Build a version's image once more, keeping nothing, and say whether it is the same or what differs."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.image_build import rebuild as build_again

    settings = load_settings()
    with audit_trail(settings) as audit_log:
        store = build_resources(settings).image_store
        parity = build_again(audit_log, store, version, console.print, settings)
    image = f"version {version}, {parity.ref.digest[:19]}"
    if parity.proven:
        console.print(f"Building {image} again gives the same in every layer and label.")
        return
    console.print(f"Building {image} again gives something else:", *parity.differences, sep="\n  ")
    raise typer.Exit(1)
