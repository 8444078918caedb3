"""The package installed from its wheel into a folder of its own, by the project's own uv: it shares the downloads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT

UV = ROOT / ".uv" / "bin" / "uv"


def checkout(to: Path) -> Path:
    """This checkout without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if os.path.lexists(ROOT / name):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name, follow_symlinks=False)
    return to


def revision(name: str, to: Path) -> Path:
    """The files of a tag or a commit."""
    archive = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=False)
    assert archive.returncode == 0, f"git does not have {name} here: {archive.stderr.decode()}"
    to.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "--extract"], cwd=to, input=archive.stdout, check=True)
    return to


def install(source: Path, environment: Path) -> Path:
    """What README.md says, from the files of a checkout, which are removed; returns the virtual environment."""
    subprocess.run(["make", "wheel", f"UV={UV}", f"PYTHON={sys.executable}"], cwd=source, check=True, timeout=600)
    (wheel,) = (source / "dist").glob("*.whl")
    python = f"--python={environment}/bin/python"
    for step in (
        ["venv", f"--python={sys.executable}", str(environment)],
        ["pip", "install", python, "--no-deps", "--require-hashes", "-r", str(source / "dist" / "requirements.txt")],
        ["pip", "install", python, "--no-deps", str(wheel)],
    ):
        subprocess.run([UV, *step, "--quiet"], check=True, timeout=600)
    shutil.rmtree(source)
    return environment
