"""Runs a module of this package in a confined process: ``jail`` says in what, ``docs/security.md`` what that is worth.

What comes back is a stranger's word, should the model have taken the process over: it is read as such, within bounds
and only where it was put by the process itself.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

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
from banana_delivery.policy.model import Model
from banana_delivery.quoting import one_line

PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG")
MAX_ANSWER = 64 * 1024**2
"""Bytes; a thousand images with 300 detections each need half of it."""
MAX_SENTENCE = 2000
"""Characters of a rejection."""
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
LOG_TAIL = 4096
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
    arguments = [str(asked), str(answered), str(timeout)]
    code = _spawn([sys.executable, "-P", "-m", module, *arguments], scratch, log, timeout)
    return understood(module, code, answer, answered, log, timeout)


def understood(module: str, code: int, answer: type[Answer], answered: Path, log: Path, timeout: float) -> Answer:
    """What a process answered that has ended with this exit code, minus the signal where one ended it.

    Raises:
        RejectedModelError: if it rejects the model.
        ExportError: if it died or answers nonsense.
    """
    if code not in (0, REJECTED):
        raise ExportError(_death(module, code, log, timeout))
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


def read_plain(file: Path, most: int) -> bytes:
    """The content of a file that a confined process was to write.

    Raises:
        OSError: if it is a link, something else than a file, or larger than ``most`` bytes.
    """
    with _plain(file, most) as content:
        return content.read(most)


def copy_plain(file: Path, to: Path, most: int) -> None:
    """Copy such a file.

    Raises:
        OSError: as ``read_plain`` does, or if it cannot be written.
    """
    with _plain(file, most) as content, to.open("wb") as copy:
        shutil.copyfileobj(content, copy)


def _plain(file: Path, most: int) -> BinaryIO:
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode) or about.st_size > most:
        os.close(handle)
        raise OSError(f"{file.name} is no file of at most {most:,} bytes")
    return os.fdopen(handle, "rb")


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
    handle = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([handle], [], [], timeout)
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


def _death(module: str, code: int, log: Path, timeout: float) -> str:
    name = _short(module)
    if code == -signal.SIGALRM:
        return f"The process {name} did not finish within {timeout:.0f} s: try again when the machine is less busy."
    if code == -signal.SIGKILL:
        return (
            f"The process {name} was killed, most likely for want of memory: give the machine more of it, or try again."
        )
    lines = _tail(log).decode(errors="replace").strip().splitlines()
    said = one_line(lines[-1], 300) if lines else "no output"
    return f"The process {name} failed with exit code {code} ({said})."


def _tail(log: Path) -> bytes:
    """The end of what a process printed, unless it put something else there."""
    try:
        with _plain(log, sys.maxsize) as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL, 0))
            return file.read(LOG_TAIL)
    except OSError:
        return b""


def _short(module: str) -> str:
    return module.rpartition(".")[2]
