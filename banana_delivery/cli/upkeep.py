"""Images and what deliveries leave behind: kept, removed, built once more."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Annotated

import typer

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import Version, audit_trail, console
from banana_delivery.settings import load_settings


def prune(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what goes, instead of only showing it.")] = False,
) -> Answer:
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
    left = [(one.kept.kind.value, one.keep, one.kept.path, one.kept.size) for one in removals]
    document = {
        "deleted": delete,
        "images": [
            {"version": one.ref.version, "digest": one.ref.digest, "keep": one.keep, "reason": one.reason}
            for one in decisions
        ],
        "files": [{"kind": kind, "keep": keep, "path": str(path), "bytes": size} for kind, keep, path, size in left],
    }
    return Answer(document, [retention_view(decisions, dry_run=not delete), home_view(left, dry_run=not delete)])


def rebuild(version: Version) -> Answer:
    """Build a version's image once more, keeping nothing, and say whether it is the same or what differs."""
    from banana_delivery.defs.build import build_resources
    from banana_delivery.delivery.image_build import rebuild as build_again

    settings = load_settings()
    with audit_trail(settings) as audit_log:
        store = build_resources(settings).image_store
        parity = build_again(audit_log, store, version, console.print, settings)
    image = f"version {version}, {parity.ref.digest[:19]}"
    document = {"version": version, "digest": parity.ref.digest, "differences": list(parity.differences)}
    if parity.proven:
        return Answer(document, [f"Building {image} again gives the same in every layer and label."])
    said = "\n  ".join([f"Building {image} again gives something else:", *parity.differences])
    return Answer(document, [said], exit_code=1)
