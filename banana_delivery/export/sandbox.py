"""Runs a module of this package in a confined process: ``jail`` says in what, ``docs/security.md`` what that is worth.

What comes back is a stranger's word, should the model have taken the process over: it is read as such, within bounds
and only where it was put by the process itself.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from banana_delivery.bundle import python_path
from banana_delivery.errors import (
    BrokenWeightsError,
    ExportError,
    NotADetectorError,
    RejectedModelError,
    UnjudgedClassesError,
    UnreadableCheckpointError,
    UnsafeModelError,
    UnsupportedModelError,
)
from banana_delivery.export.jail.confine import confine
from banana_delivery.export.protocol import Rejection
from banana_delivery.files import last_line, read_plain
from banana_delivery.policy.model import Model
from banana_delivery.quoting import one_line

PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG")
MAX_ANSWER = 64 * 1024**2
"""Bytes; a thousand images with 300 detections each need half of it."""
MAX_SENTENCE = 2000
"""Characters of a rejection."""
PROGRESS = "progress"
"""The file in a process's folder that grows while it gets on."""
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
        UnjudgedClassesError,
    )
}
"""By name, as they travel from a subprocess."""

UNCONFINED = "This process is not confined by: "
LOG = logging.getLogger(__name__)

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
        # The same for whoever would call torch's loader without asking for it.
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
        # In the embedded stack the machine is serving users meanwhile; and waiting threads of OpenMP burn what they
        # wait for (26 s of CPU instead of 5 s on two busy cores).
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": python_path(parent, serving=True),
        "PYTHONHASHSEED": "0",
    }


def run(
    module: str, request: Model, answer: type[Answer], scratch: Path, timeout: float, quiet: float | None = None
) -> Answer:
    """Run ``python -m module`` on a request and return its answer.

    Args:
        module: one whose ``main`` calls ``serve``.
        request: what it is asked.
        answer: type of what it answers.
        scratch: existing folder; its working directory, home and only place to write.
        timeout: seconds until it is killed.
        quiet: seconds without a sign of progress until it is killed; None: none is asked for.

    Raises:
        RejectedModelError: if it rejects the model.
        ExportError: if it dies, hangs or answers nonsense.
    """
    asked, answered, log = scratch / "request.json", scratch / "answer.json", scratch / "output.log"
    asked.write_text(request.model_dump_json())
    answered.unlink(missing_ok=True)
    arguments = [str(asked), str(answered), str(timeout)]
    limits = Limits(timeout, timeout if quiet is None else min(quiet, timeout))
    code = _spawn([sys.executable, "-P", "-m", module, *arguments], scratch, log, limits)
    return understood(module, code, answer, answered, log, limits)


def understood(module: str, code: int, answer: type[Answer], answered: Path, log: Path, limits: Limits) -> Answer:
    """What a process answered that has ended with this exit code, minus the signal where one ended it.

    Raises:
        RejectedModelError: if it rejects the model.
        ExportError: if it died or answers nonsense.
    """
    if code not in (0, REJECTED):
        raise ExportError(_death(module, code, log, limits))
    try:
        content = read_plain(answered, MAX_ANSWER)
        if code == 0:
            return answer.model_validate_json(content)
        rejection = Rejection.model_validate_json(content)
        error = REJECTIONS[rejection.kind]
    except (OSError, ValueError, KeyError) as nonsense:
        raise ExportError(
            f"The process {_short(module)} answered what it should not ({type(nonsense).__name__}): try again, and if "
            "it stays so, do not trust this model."
        ) from None
    raise error(one_line(rejection.message, MAX_SENTENCE))


def serve(arguments: list[str], request: type[Request], work: Callable[[Request], Model]) -> int:
    """The subprocess's side of ``run``: confine itself, answer, and return the exit code."""
    asked, answered, timeout = arguments
    order = request.model_validate_json(Path(asked).read_bytes())
    scratch = Path(answered).parent
    missing = confine(scratch, [file for file in _files(order) if not file.is_relative_to(scratch)], float(timeout))
    if missing:
        # The first line of what it writes, from before it reads anything of the model.
        sys.stderr.write(f"{UNCONFINED}{json.dumps(missing)}\n")
        sys.stderr.flush()
    try:
        answer: Model = work(order)
        code = 0
    except RejectedModelError as error:
        answer = Rejection(kind=type(error).__name__, message=str(error))
        code = REJECTED
    Path(answered).write_text(answer.model_dump_json())
    return code


def _files(order: Model) -> Iterator[Path]:
    """Every path in a request."""
    for value in dict(order).values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Path):
                yield item


class Limits(NamedTuple):
    """How long a process may take in all, and how long it may show no progress; seconds."""

    whole: float
    quiet: float


def get_on(progress: Path | None) -> None:
    """In the subprocess: show that one more step is done."""
    if progress:
        with progress.open("ab") as file:
            file.write(b".")


def _ends(handle: int, progress: Path, limits: Limits) -> bool:
    """Wait until a process ends, or until it has taken too long; whether it ended.

    That it gets on is its own word, which buys it no more than the whole time.
    """
    deadline = time.monotonic() + limits.whole
    seen = 0
    while (left := deadline - time.monotonic()) > 0:
        if select.select([handle], [], [], min(limits.quiet, left))[0]:
            return True
        size = _size(progress)
        if size == seen:
            return False
        seen = size
    return False


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:
        return 0


def _spawn(command: list[str], scratch: Path, log: Path, limits: Limits) -> int:
    (scratch / PROGRESS).unlink(missing_ok=True)
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
    handle = os.pidfd_open(process.pid)
    try:
        ended = _ends(handle, scratch / PROGRESS, limits)
    finally:
        # Also when it ended, and when this run is cancelled: nothing that it started may go on behind it. It is not
        # waited for before, so that its number cannot be another's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        os.close(handle)
    _tell_what_is_missing(log)
    return code if ended else -signal.SIGALRM


def _tell_what_is_missing(log: Path) -> None:
    with log.open("rb") as file:
        line = file.readline(1000).decode(errors="replace")
    if line.startswith(UNCONFINED):
        with suppress(ValueError):
            means = " and ".join(json.loads(line.removeprefix(UNCONFINED)))
            LOG.warning(
                "A process that reads the model runs here without %s, since this machine does not let it: "
                "docs/security.md says what is still held.",
                one_line(means),
            )


def _death(module: str, code: int, log: Path, limits: Limits) -> str:
    name = _short(module)
    if code == -signal.SIGALRM:
        if limits.quiet < limits.whole:
            return (
                f"The process {name} took more than {limits.whole:.0f} s, or {limits.quiet:.0f} s for one step: try "
                "again when the machine is less busy, or give it more time (BANANA_EXPORT_SECONDS)."
            )
        return (
            f"The process {name} did not finish within {limits.whole:.0f} s: try again when the machine is less busy."
        )
    if code == -signal.SIGKILL:
        return (
            f"The process {name} was killed, most likely for want of memory: give the machine more of it, or try again."
        )
    if code < 0:
        return f"The process {name} was ended by signal {-code} ({last_line(log)}): try again."
    return f"The process {name} failed with exit code {code} ({last_line(log)})."


def _short(module: str) -> str:
    return module.rpartition(".")[2]
