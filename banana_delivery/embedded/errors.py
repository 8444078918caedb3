"""What can go wrong with the embedded stack."""

from __future__ import annotations


class StackError(Exception):
    """The stack could not be started or stopped; one sentence: what, where, what to do."""
