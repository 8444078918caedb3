"""What can keep the demonstration from being played."""

from __future__ import annotations


class DemoError(Exception):
    """The demonstration cannot begin or go on; one sentence."""
