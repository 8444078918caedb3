"""The git revision of the serving code, for tags and labels."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision(directory: Path) -> str:
    """The short commit hash, or nothing where the code did not come by git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
