"""Decodes an image in a process of its own, which is ended when it takes more than an image may.

A thread cannot be ended, and a decoder that loops in C holds its worker; some formats unpack to ten times their pixels
while they are decoded, and Python would keep that memory. A process costs a tenth of a second, which an unusual file is
worth. It reads the file from its standard input and answers with a head of JSON, a line end, and the pixels.
"""

import io
import json
import os
import resource
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from serving.errors import RequestError, corrupt_image, overloaded
from serving.inference.decode import Decoded, NotHere, decode_here, decode_with_pillow, displayed
from serving.inference.formats import outline

SECONDS = 8
"""Of CPU time, that an image may take."""
BY_THE_CLOCK = 16.0
"""Seconds by which its process has had them, unless others take the CPU."""
MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of the process: 25 million pixels in the dearest format, and Python."""


def decode(data: bytes, max_pixels: int) -> Decoded:
    """Decodes an image of any supported format.

    Raises:
        RequestError: 413, 415 or 422, as the bytes deserve; 503 where nobody can tell for want of CPU time.
    """
    try:
        return decode_here(data, max_pixels)
    except NotHere:
        return _decode_apart(data, max_pixels)


def _decode_apart(data: bytes, max_pixels: int) -> Decoded:
    command = [sys.executable, "-m", "serving.inference.apart", str(max_pixels), str(SECONDS)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    late = threading.Event()
    with subprocess.Popen(command, env=_environment(), stdin=pipe, stdout=pipe, stderr=nowhere) as process:
        deadline = threading.Timer(BY_THE_CLOCK, _end, (process, late))
        deadline.start()
        try:
            decoded = _ask(process, data)
        finally:
            deadline.cancel()
            process.kill()
    if decoded:
        return decoded
    if late.is_set():
        # Else its own limit had ended it: it had too little of the CPU, which is not the image's fault.
        raise overloaded("This replica has too little CPU time for the image just now; try again in a moment.")
    raise corrupt_image(
        f"The image takes more than {SECONDS} seconds or {MEMORY_BYTES // 1024**2:,} MiB to decode; save it anew with "
        "any program, or send it as a JPEG."
    )


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _ask(process: subprocess.Popen[bytes], data: bytes) -> Decoded | None:
    """The other side reads all before it answers, so neither waits for the other. None if it ends before it has.

    Raises:
        RequestError: as the bytes deserve.
    """
    with suppress(BrokenPipeError), cast(BinaryIO, process.stdin) as upload:
        upload.write(data)
    answer = cast(io.BufferedReader, process.stdout)
    head = answer.readline()
    if not head:
        return None
    said = json.loads(head)
    if "error" in said:
        raise RequestError(**said["error"])
    pixels = np.empty(said["shape"], np.uint8)
    if answer.readinto(pixels.data) != pixels.size:
        return None
    return displayed(pixels, said["orientation"])


def _environment() -> dict[str, str]:
    """What Python needs to find this package, and nothing else that this process was told."""
    known = {name: os.environ[name] for name in ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH") if name in os.environ}
    return known | {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}


def _answer(data: bytes, max_pixels: int, out: BinaryIO) -> None:
    try:
        decoded = _decode_any(data, max_pixels)
    except RequestError as error:
        told = {"status": error.status, "code": error.code, "message": error.message}
        out.write(json.dumps({"error": told}).encode() + b"\n")
        return
    out.write(json.dumps({"shape": decoded.pixels.shape, "orientation": decoded.orientation}).encode() + b"\n")
    out.write(np.ascontiguousarray(decoded.pixels).data)


def _decode_any(data: bytes, max_pixels: int) -> Decoded:
    kind, bare, known = outline(data)
    return decode_with_pillow(bare, kind, known, max_pixels)


def main() -> None:
    """Decodes what standard input brings."""
    max_pixels, seconds = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = io.BufferedWriter(io.FileIO(sys.stdout.fileno(), "w", closefd=False))
    _answer(sys.stdin.buffer.read(), max_pixels, out)
    out.flush()


if __name__ == "__main__":
    main()
