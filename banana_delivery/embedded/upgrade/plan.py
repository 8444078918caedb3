"""What `up` of this installation would do to a stack as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What ``up`` would do.

    Attributes:
        start: processes that do not run.
        again: processes that it would start again, as they are configured otherwise or by another installation.
        migrate: packages whose database it would bring to the form of this installation.
    """

    start: Sequence[str]
    again: Sequence[str]
    migrate: Sequence[str]

    def lines(self) -> list[str]:
        """For people."""
        said = {"start": self.start, "start again": self.again, "migrate the database of": self.migrate}
        return [f"Would {what}: {', '.join(names)}." for what, names in said.items() if names] or ["Would do nothing."]
