"""What an engine says while it pushes or pulls, in few lines that a person can follow."""

from __future__ import annotations

from typing import Any

_DONE = {"Pushed", "Layer already exists", "Pull complete", "Already exists"}
_QUARTER = 0.25


class PushProgress:
    """Follows one push or pull.

    Attributes:
        pushed: layers that had to be sent, by the first twelve characters of their diff id.
    """

    def __init__(self) -> None:
        self.pushed: set[str] = set()
        self._said: dict[str, float] = {}

    def line(self, event: dict[str, Any]) -> str | None:
        """The line to show for an event of the engine's; None for the many that say nothing new."""
        layer, status = event.get("id", ""), event.get("status", "")
        if status == "Pushed":
            self.pushed.add(layer)
        if status in _DONE or status.startswith("Mounted from"):
            return f"{layer}: {status.lower()}"
        if status in ("Pushing", "Downloading"):
            return self._share(layer, status, event.get("progressDetail") or {})
        return None

    def _share(self, layer: str, status: str, detail: dict[str, int]) -> str | None:
        current, total = detail.get("current", 0), detail.get("total", 0)
        share = min(current / total, 1.0) if total else 0.0
        if share - self._said.get(layer, 0.0) < _QUARTER:
            return None
        self._said[layer] = share
        return f"{layer}: {status.lower()} {share:.0%} of {total / 1e6:.1f} MB"
