"""What Dagster does each time it loads the code location must stay small."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "ultralytics", "mlflow", "matplotlib", "scipy", "cv2", "docker", "kubernetes", "apprise")


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that loading the code location imports, in a process of its own."""
    code = "import sys, banana_delivery.definitions; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_loading_the_code_location_does_not_import(loaded: set[str], module: str) -> None:
    assert module not in loaded


def test_plain_dagster_commands_find_the_code_location() -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
