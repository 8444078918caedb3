"""The demonstration, played as a stranger would, and what has to be true at its end wherever it is played."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from banana_delivery.demo.scenario import SCENARIOS
from banana_delivery.policy.model import Outcome


def run_demo(
    command: Sequence[str], summary: Path, environment: Mapping[str, str], folder: Path
) -> list[dict[str, Any]]:
    """Play all acts by a command that writes ``summary``; what it says of each delivery, in order."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=840
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    told = json.loads(summary.read_text())
    deliveries: list[dict[str, Any]] = told["deliveries"]
    assert [delivery["outcome"] for delivery in deliveries] == [scenario.outcome for scenario in SCENARIOS]
    assert told["failed_outside_faulty_colour"] == 0
    assert told["requests"] > 500
    (rolled_back,) = (delivery for delivery in deliveries if delivery["outcome"] == Outcome.ROLLED_BACK)
    assert rolled_back["failed"] > 0, "the fault never met a client"
    assert rolled_back["rollback_seconds"] is not None
    return deliveries
