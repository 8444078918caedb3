"""Whether anybody wants a version any more that was approved before, and goes on by itself now."""

from __future__ import annotations

from banana_delivery.policy import commands


def unwanted(version: str, *, for_its_staging: bool, stands: str | None, wanted: bool) -> str:
    """Why an approval releases nothing by itself, as sentences; empty if somebody still wants its version.

    What was delivered because it was staged is wanted for as long as it is. What somebody had delivered by its number
    may never have been staged, so nothing but its end in the registry says that he wants it no more.

    Args:
        version: MLflow model version.
        for_its_staging: whether the delivery that made its report was begun because it was staged.
        stands: its stage in the registry, which has it no more if that is None.
        wanted: whether it is staged there, or is what serves.
    """
    if stands is None:
        return f"Version {version} is not in the registry any more, so what was approved of it releases nothing."
    if wanted or not for_its_staging:
        return ""
    return (
        f"Version {version} was delivered because it was staged, and is staged no more (stage {stands}), so what was "
        f"approved of it releases nothing by itself. Stage it again; or, to release it all the same, type while no "
        f"freeze is open: {commands.approve(version)}"
    )


def unapproved(version: str) -> str:
    """Why nothing of a version goes on by itself that was asked for while an approval counted, as sentences."""
    return (
        f"What was approved of version {version} was taken back, or its time is over, so it is not released by itself. "
        f"To release it, type: {commands.approve(version)}"
    )
