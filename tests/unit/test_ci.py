"""What CI starts in the background ends with it, however it ends."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "run"
QUIET = "exit 0"
MAKE = 'if [ "$1" = test-e2e ]; then until [ -s "$CLUSTER/pid" ]; do sleep 0.05; done; exit "$E2E"; fi'
TIMEOUT = 'shift 2; if [ "$1" = tail ]; then exit 124; fi; exec "$@"'
HANGS = 'echo $$ >"$CLUSTER/pid"; exec sleep 300'


def programs(folder: Path, said: dict[str, str]) -> Path:
    folder.mkdir()
    for name, script in said.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("e2e", "status"), [(7, 7), (0, 124)], ids=["the suite beside it fails", "it hangs"])
def test_a_cluster_that_is_still_built_is_given_up(tmp_path: Path, e2e: int, status: int) -> None:
    found = dict.fromkeys(("apt-get", "cosign", "promtool", "prometheus", "chromium", "initdb"), QUIET)
    path = programs(tmp_path / "bin", {**found, "make": MAKE, "timeout": TIMEOUT})
    cluster = programs(tmp_path / "cluster", {"up": HANGS, "down": QUIET})
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "CLUSTER": str(cluster), "E2E": str(e2e)}

    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == status, done.stderr
    process, deadline = int((cluster / "pid").read_text()), time.monotonic() + 10
    while is_there(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(process)
    assert "=== times" in done.stdout
