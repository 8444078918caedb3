"""The embedded stack's ports: each has its own default, and one offset moves them all."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

OFFSET_STEP = 10
"""Four of the defaults are neighbours: stacks that lie closer would meet."""
LARGEST_OFFSET = 47_000
"""The largest default still is a port then."""


def offset() -> Any:
    """The field that moves the defaults; it has to come before the ports."""
    return Field(
        default=0,
        ge=0,
        le=LARGEST_OFFSET,
        multiple_of=OFFSET_STEP,
        description="Added to each port below that no variable sets, for a second stack on this machine; tens.",
    )


def port(default: int, description: str, *, least: int = 1, most: int = 65535) -> Any:
    """A field that holds a port.

    Args:
        default: its number where nothing moves it.
        description: who answers there.
        least: the smallest number that may be chosen.
        most: the largest one.
    """
    return Field(
        default_factory=lambda known: default + int(known["port_offset"]),
        ge=least,
        le=most,
        description=description,
        json_schema_extra={"default": f"`{default}`"},
    )


def chosen(settings: BaseModel) -> set[int]:
    """All ports that the settings give to somebody, whether or not anybody listens there now."""
    return {number for name, number in settings if name.endswith("_port") and number}
