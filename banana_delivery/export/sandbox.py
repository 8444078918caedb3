"""Runs a module of this package in a process of its own: no secrets in its environment, bounded time and memory.

It is a fence against accidents and against a pickle that slipped through two scans, not a jail: the process runs as
the same user and sees the same disk.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from banana_delivery.bundle import python_path
from banana_delivery.errors import (
    BrokenWeightsError,
    ExportError,
    NotADetectorError,
    RejectedModelError,
    UnreadableCheckpointError,
    UnsafeModelError,
    UnsupportedModelError,
)
from banana_delivery.export.protocol import Rejection
from banana_delivery.policy.model import Model

PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG")
MAX_MEMORY = 8 * 1024**3
"""Bytes of private memory; exporting a detector of any usual size needs less than 3 GiB."""
MAX_FILE = 4 * 1024**3
REJECTED = 3
"""Exit code of a process whose answer is a rejection."""
REJECTIONS: dict[str, type[RejectedModelError]] = {
    kind.__name__: kind
    for kind in (
        UnreadableCheckpointError,
        UnsafeModelError,
        NotADetectorError,
        BrokenWeightsError,
        UnsupportedModelError,
    )
}
"""By name, as they travel from a subprocess."""

Answer = TypeVar("Answer", bound=Model)
Request = TypeVar("Request", bound=Model)


def environment(parent: Mapping[str, str], home: Path) -> dict[str, str]:
    """The whole environment of the subprocess; of the parent's nothing but ``PASSED_ON`` and where its modules are."""
    return {
        **{name: parent[name] for name in PASSED_ON if name in parent},
        "HOME": str(home),
        "TMPDIR": str(home),
        "MPLCONFIGDIR": str(home),
        "YOLO_CONFIG_DIR": str(home),
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
        "YOLO_VERBOSE": "false",
        # Loads checkpoints through torch's restricted unpickler and builds no model by evaluating text.
        "ULTRALYTICS_SAFE_LOAD": "true",
        # In the embedded stack the machine is serving users meanwhile; and waiting threads of OpenMP burn what they
        # wait for (26 s of CPU instead of 5 s on two busy cores).
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": python_path(parent, serving=True),
        "PYTHONHASHSEED": "0",
    }


def run(module: str, request: Model, answer: type[Answer], scratch: Path, timeout: float) -> Answer:
    """Run ``python -m module`` on a request and return its answer.

    Args:
        module: one whose ``main`` calls ``serve``.
        request: what it is asked.
        answer: type of what it answers.
        scratch: existing folder; its working directory, home and only place to write.
        timeout: seconds until it is killed.

    Raises:
        RejectedModelError: if it rejects the model.
        ExportError: if it dies, hangs or answers nonsense.
    """
    asked, answered, log = scratch / "request.json", scratch / "answer.json", scratch / "output.log"
    asked.write_text(request.model_dump_json())
    answered.unlink(missing_ok=True)
    code = _spawn([sys.executable, "-P", "-m", module, str(asked), str(answered), str(timeout)], scratch, log, timeout)
    if code == REJECTED:
        rejection = Rejection.model_validate_json(answered.read_bytes())
        raise REJECTIONS[rejection.kind](rejection.message)
    if code != 0:
        raise ExportError(_death(module, code, log, timeout))
    return answer.model_validate_json(answered.read_bytes())


def serve(arguments: list[str], request: type[Request], work: Callable[[Request], Model]) -> int:
    """The subprocess's side of ``run``: confine itself, answer, and return the exit code."""
    asked, answered, timeout = arguments
    _confine(float(timeout))
    try:
        answer: Model = work(request.model_validate_json(Path(asked).read_bytes()))
        code = 0
    except RejectedModelError as error:
        answer = Rejection(kind=type(error).__name__, message=str(error))
        code = REJECTED
    Path(answered).write_text(answer.model_dump_json())
    return code


def _confine(timeout: float) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The parent kills it in time, unless the parent itself was killed.
    signal.alarm(math.ceil(timeout) + 1)


def _spawn(command: list[str], scratch: Path, log: Path, timeout: float) -> int:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            env=environment(os.environ, scratch),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return -signal.SIGALRM
    finally:
        # Also when this run is cancelled: nothing may go on exporting behind it.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _death(module: str, code: int, log: Path, timeout: float) -> str:
    name = module.rpartition(".")[2]
    if code == -signal.SIGALRM:
        return f"The process {name} did not finish within {timeout:.0f} s: try again when the machine is less busy."
    if code == -signal.SIGKILL:
        return (
            f"The process {name} was killed, most likely for want of memory: give the machine more of it, or try again."
        )
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"The process {name} failed with exit code {code} ({lines[-1][:300] if lines else 'no output'})."
