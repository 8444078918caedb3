"""What ``banana-delivery prune`` shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from banana_delivery.images.base import PruneDecision


def retention_view(decisions: Sequence[PruneDecision], *, dry_run: bool) -> Table:
    """Each image with what becomes of it and why.

    Args:
        decisions: newest image first.
        dry_run: whether nothing was removed.
    """
    gone = "would go" if dry_run else "removed"
    freed = sum(decision.freed_bytes for decision in decisions)
    caption = f"{sum(not one.keep for one in decisions)} of {len(decisions)} {gone}; {freed / 1e6:,.1f} MB."
    table = Table("Version", "Digest", "", "Why", caption=caption, caption_justify="left")
    for decision in decisions:
        table.add_row(
            decision.ref.version, decision.ref.digest[:19], "stays" if decision.keep else gone, decision.reason
        )
    return table
