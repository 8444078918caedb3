"""What the looks at the registry learned, kept in the Dagster instance: a process that starts anew goes on from there.

Whatever it says is true, only late, so that it does not have to fit what else is stored.
"""

from __future__ import annotations

import dagster as dg

from banana_delivery.names import DOMAIN
from banana_delivery.runs.code_location import CodeLocation


class KeptMemory:
    """One text for each model of an instance.

    Args:
        instance: where it is kept.
        location: whose.
    """

    def __init__(self, instance: dg.DagsterInstance, location: CodeLocation) -> None:
        self._storage = instance.daemon_cursor_storage
        self._name = "/".join([DOMAIN, *location.prefix, location.model, "registry"])
        self._known = ""

    def text(self) -> str:
        """What was kept last; empty for nothing."""
        self._known = self._storage.get_cursor_values({self._name}).get(self._name, "")
        return self._known

    def keep(self, text: str) -> None:
        """Keep a text instead, if it is another one."""
        if text and text != self._known:
            self._storage.set_cursor_values({self._name: text})
            self._known = text
