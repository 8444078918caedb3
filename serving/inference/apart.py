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

from serving.errors import RequestError, corrupt_image
from serving.inference.decode import Decoded, NotHere, decode_here, decode_with_pillow, displayed
from serving.inference.formats import outline

SECONDS = 8
"""Of CPU time; twice as long by the clock."""
MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of the process: 25 million pixels in the dearest format, and Python."""


def decode(data: bytes, max_pixels: int) -> Decoded:
    """Decodes an image of any supported format.

    Raises:
        RequestError: 413, 415 or 422, as the bytes deserve.
    """
    try:
        return decode_here(data, max_pixels)
    except NotHere:
        return _decode_apart(data, max_pixels)


def _decode_apart(data: bytes, max_pixels: int) -> Decoded:
    command = [sys.executable, "-m", "serving.inference.apart", str(max_pixels)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, env=_environment(), stdin=pipe, stdout=pipe, stderr=nowhere) as process:
        deadline = threading.Timer(2 * SECONDS, process.kill)
        deadline.start()
        try:
            return _ask(process, data)
        finally:
            deadline.cancel()
            process.kill()


def _ask(process: subprocess.Popen[bytes], data: bytes) -> Decoded:
    """The other side reads all before it answers, so neither waits for the other."""
    with suppress(BrokenPipeError), cast(BinaryIO, process.stdin) as upload:
        upload.write(data)
    answer = cast(io.BufferedReader, process.stdout)
    head = answer.readline()
    if not head:
        raise _too_dear()
    said = json.loads(head)
    if "error" in said:
        raise RequestError(**said["error"])
    pixels = np.empty(said["shape"], np.uint8)
    if answer.readinto(pixels.data) != pixels.size:
        raise _too_dear()
    return displayed(pixels, said["orientation"])


def _environment() -> dict[str, str]:
    """What Python needs to find this package, and nothing else that this process was told."""
    known = {name: os.environ[name] for name in ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH") if name in os.environ}
    return known | {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}


def _too_dear() -> RequestError:
    return corrupt_image(
        f"The image takes more than {SECONDS} seconds or {MEMORY_BYTES // 1024**2:,} MiB to decode; save it anew with "
        "any program, or send it as a JPEG."
    )


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
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = io.BufferedWriter(io.FileIO(sys.stdout.fileno(), "w", closefd=False))
    _answer(sys.stdin.buffer.read(), int(sys.argv[1]), out)
    out.flush()


if __name__ == "__main__":
    main()
