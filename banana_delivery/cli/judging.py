"""Looking at what models are judged by."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from banana_delivery.cli.common import console
from banana_delivery.quoting import in_terminal
from banana_delivery.settings import load_settings

MOST_PAIRS = 10
"""Of each kind that are named."""


class Look(StrEnum):
    """What to do with labelled images."""

    CHECK = "check"


def holdout(
    look: Annotated[Look, typer.Argument(metavar="check", help="Look at them.")],
    where: Annotated[
        Path | None, typer.Argument(help="Folder or file, `#split` after it; without it, BANANA_HOLDOUT.")
    ] = None,
) -> None:
    """Show size, classes and small objects of labelled images, what is there twice, and the smallest loss they show."""
    from banana_delivery.errors import LabelledImagesError
    from banana_delivery.evaluation.holdout.report import report
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.reports.terminal import holdout_view

    del look  # There is one thing to do with them so far.
    settings = load_settings()
    place = where.expanduser() if where else settings.holdout
    if place is None:
        raise LabelledImagesError("No hold-out is set: name a folder, or set BANANA_HOLDOUT.")
    found = report(place, "" if where else settings.holdout_split, load_policy(settings.policy_source).quality)
    console.print(in_terminal(f"{found.path}, {found.digest[:19]}"), highlight=False)
    console.print(
        holdout_view(
            {
                "images": found.images,
                "of these, showing nothing": found.empty,
                "labelled objects": sum(found.objects.values()),
                "of these, small": found.small,
                "pairs of equal files": len(found.twice),
                "pairs that look the same": len(found.near),
                "other splits looked at": len(found.splits),
                "pairs that look the same in another split": len(found.shared),
            },
            found.objects,
            found.detectable,
        )
    )
    for what, pairs in (
        ("The same file twice", found.twice),
        ("Look the same", found.near),
        ("Look the same in another split, so that a model may know the answer", found.shared),
    ):
        for one, other in pairs[:MOST_PAIRS]:
            console.print(in_terminal(f"{what}: {one} and {other}"), highlight=False)
