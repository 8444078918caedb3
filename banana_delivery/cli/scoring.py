"""Whether the pipeline keeps its promises."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from banana_delivery.cli.common import audit_trail, console
from banana_delivery.settings import load_settings


def scorecard(
    since: Annotated[str, typer.Option(help="How far to look back, in days or weeks: 30d, 6w.")] = "90d",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON document, for programs.")] = False,
) -> None:
    """Show what deliveries were like beside what is promised of them, and write the page about it."""
    from banana_delivery.delivery.upkeep.scores import begin, keep_page, score
    from banana_delivery.reports.scorecard import scorecard_json, scorecard_view

    now = time.time()
    first = begin(since, now)
    settings = load_settings()
    with audit_trail(settings) as log:
        card = score(log, first, now)
    page = keep_page(settings, card)
    if as_json:
        # Not by the console, which breaks lines.
        typer.echo(json.dumps(scorecard_json(card), indent=2))
        return
    console.print(scorecard_view(card))
    console.print(f"Page: {page}", highlight=False, markup=False, soft_wrap=True)
