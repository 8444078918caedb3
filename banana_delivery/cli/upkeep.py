"""Images and what deliveries leave behind: kept, removed, built once more."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing
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


def assemble_runtime(
    platform: Annotated[
        list[str] | None,
        typer.Option(
            help="What it is for, for example linux/arm64; name several for an index. Default: BANANA_PLATFORMS."
        ),
    ] = None,
) -> Answer:
    """Put the image of packages that releases stand on together without an engine, and write it into the registry.

    Once for each serving lock and base, before the first delivery with BANANA_BUILDER=registry.
    """
    from banana_delivery.bundle import serving_lock
    from banana_delivery.images.direct.store import direct_images

    settings = load_settings()
    with closing(direct_images(settings)) as images:
        pinned = images.assemble_runtime(serving_lock(settings.serving_device), platform or [], console.print)
    return Answer({"image": pinned}, [f"Releases with this lock and base stand on {pinned}."])
