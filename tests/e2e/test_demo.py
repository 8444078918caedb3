"""The demonstration is the product's promise: it plays every act for real and must end as told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from banana_delivery.demo.acts import ACTS

pytestmark = pytest.mark.e2e


def test_every_act_ends_as_told_and_no_client_request_is_lost(
    stack_environment: dict[str, str], program: str, tmp_path: Path
) -> None:
    file = tmp_path / "summary.json"
    done = subprocess.run(
        [program, "demo", "--summary", str(file)],
        env=stack_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=840,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    summary = json.loads(file.read_text())
    assert [delivery["outcome"] for delivery in summary["deliveries"]] == [act.outcome for act in ACTS]
    assert summary["failed_outside_faulty_colour"] == 0
    assert summary["requests"] > 500
    rolled_back = summary["deliveries"][3]
    assert rolled_back["failed"] > 0, "the fault never met a client"
    assert rolled_back["rollback_seconds"] is not None
