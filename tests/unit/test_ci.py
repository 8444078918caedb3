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


FOUND = dict.fromkeys(("apt-get", "cosign", "promtool", "prometheus", "chromium", "initdb"), QUIET)
"""What CI would install."""
SUITES = ("make test-docker", "make test-cluster", "make test-cluster-dagster-short")
NOTES = 'echo "${0##*/} $1" >>"$CLUSTER/said"'


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
    path = programs(tmp_path / "bin", {**FOUND, "make": MAKE, "timeout": TIMEOUT})
    cluster = programs(tmp_path / "cluster", {"up": HANGS, "down": QUIET})
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "CLUSTER": str(cluster), "E2E": str(e2e)}

    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == status, done.stderr
    process, deadline = int((cluster / "pid").read_text()), time.monotonic() + 10
    while is_there(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(process)
    assert "=== times" in done.stdout


@pytest.mark.parametrize("image", [0, 2], ids=["whole", "whose image ahead of it fails"])
def test_dagster_on_the_cluster_is_the_last_on_it_and_has_its_image_by_then(tmp_path: Path, image: int) -> None:
    make = f'{NOTES}; if [ "$1" = test-cluster-dagster-image ]; then exit {image}; fi'
    path = programs(tmp_path / "bin", {**FOUND, "make": make})
    cluster = programs(tmp_path / "cluster", {"up": NOTES, "down": NOTES, "env": "echo export REGISTRY=there"})
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "CLUSTER": str(cluster)}

    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    said = [line.strip() for line in (cluster / "said").read_text().splitlines() if "test-e2e" not in line]
    built, used = ["up", "make test-cluster-dagster-image", "down"], ["up", *SUITES, "down"]
    assert said[-len(built + used) :] == [*built, *used]
