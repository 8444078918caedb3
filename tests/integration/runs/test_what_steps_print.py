"""What a step prints on a cluster while it goes on, in a process of its own: into scratch space, and onto a volume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT

STEP = """
import sys, time
from pathlib import Path
from banana_delivery.embedded.output import bounded
from banana_delivery.runs.output.on_volume import VolumeComputeLogs

bounded.LOOK_SECONDS = 0.01
logs = VolumeComputeLogs(sys.argv[1], copy_seconds=1)
key = ["run", "compute_logs", "step"]
printed = Path(logs.local_manager.get_captured_local_path(key, "out"))

with logs.capture_logs(key):
    print("the beginning")
    for _ in range(3):
        print("a warning of a library\\n" * 300_000)
        end = time.monotonic() + 30
        while printed.stat().st_size > 6_000_000:
            assert time.monotonic() < end, "it grows"
            time.sleep(0.01)
    print("the end")
"""


def test_one_that_prints_without_end_fills_no_scratch_space_and_both_its_ends_are_kept(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with (tmp_path / "pod.log").open("a") as pod:
        command = [sys.executable, "-c", STEP, str(volume)]
        subprocess.run(command, env=environment, stdout=pod, check=True, timeout=60)

    kept = (volume / "run" / "compute_logs" / "step.out").read_text()
    assert kept.startswith("the beginning\n") and kept.endswith("\nthe end\n")
    assert "bytes were left out here" in kept and len(kept) < 6_000_000
