"""Reading what ``python -m serving.selftest`` said, wherever it ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from banana_delivery.errors import ImageError, SelfTestFailedError
from banana_delivery.images.release import MODEL_PATH
from banana_delivery.policy.model import ImageRef

TIMEOUT_SECONDS = 180


def read_result(ref: ImageRef, exit_code: int, output: str, errors: str) -> dict[str, object]:
    """What the self-test reported, if it passed and spoke of the very image that was asked.

    Raises:
        SelfTestFailedError: if it failed, said nothing that can be read, or found another version or digest inside.
    """
    report = _report(output)
    reason = _objection(ref, exit_code, report) or ("" if report else _last_line(errors) or _last_line(output))
    if not reason and report:
        return report
    raise SelfTestFailedError(
        f"The self-test of version {ref.version} ({ref.digest[:19]}) failed with exit code {exit_code}: "
        f"{reason or 'it said nothing'}; correct the serving code or the model, then materialize `image` again."
    )


def run_unpacked(ref: ImageRef, release: Path, timeout: float = TIMEOUT_SECONDS) -> dict[str, object]:
    """Run the self-test of an unpacked release in a process of its own, without this process's environment.

    Raises:
        SelfTestFailedError: if it failed.
        ImageError: if it did not end in time.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MODEL_PATH": str(release / MODEL_PATH),
        "IMAGE_DIGEST": ref.digest,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "serving.selftest"],
            cwd=release / "app",
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            f"The self-test of version {ref.version} ({ref.digest[:19]}) did not end within {timeout:.0f} s; "
            "look for a model that is far larger than usual, or a host that is overloaded."
        ) from error
    return read_result(ref, done.returncode, done.stdout, done.stderr)


def _report(output: str) -> dict[str, object]:
    try:
        report = json.loads(_last_line(output))
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _objection(ref: ImageRef, exit_code: int, report: dict[str, object]) -> str:
    if not report:
        return ""
    if exit_code != 0:
        return str(report.get("error", "it gave no reason"))
    wanted = {"digest": ref.digest, "model_version": ref.version}
    wrong = [
        f"{name} is {report.get(name)!r}, not {value!r}" for name, value in wanted.items() if report.get(name) != value
    ]
    return ", ".join(wrong)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
