"""Getting the wheels of a lock for another machine than this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from banana_delivery.errors import ImageError, redacted
from banana_delivery.images.assembled.base_python import BasePython

_ENTRY = re.compile(r"\n(?=\S)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_SECONDS = 1800.0
"""For all of them: 90 MB, and 3 GB where a GPU is served."""
_NEEDED = re.compile(
    r"(?i:PATH|HOME|LANG|TMPDIR|PIP_.*|(?:HTTPS?|ALL|NO)_PROXY|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE)"
)
"""Variables by which pip finds its index; none of the pipeline's secrets."""


def pinned_for(lock: str, markers: Mapping[str, str]) -> list[str]:
    """The requirements of a lock that count on a machine, each with its hashes on one line.

    pip asks the conditions of a requirement about its own machine, whatever it is told of another one.

    Args:
        lock: with hashes.
        markers: of the machine.

    Raises:
        ImageError: if it holds something that is neither pinned nor hashed.
    """
    found = []
    for entry in _ENTRY.split(lock):
        said = " ".join(line.rstrip("\\").strip() for line in entry.splitlines() if not line.lstrip().startswith("#"))
        if not said.strip():
            continue
        hashes = _HASH.findall(said)
        try:
            asked = Requirement(_HASH.sub("", said).strip())
        except InvalidRequirement as error:
            raise ImageError(
                f"The lock holds {said[:80]!r}, which is no requirement; write it anew by `make lock`."
            ) from error
        if not hashes or not re.fullmatch(r"==[^,*]+", str(asked.specifier)):
            raise ImageError(f"The lock does not pin {asked.name} with a hash; write it anew by `make lock`.")
        if asked.marker is None or asked.marker.evaluate(dict(markers)):
            found.append(f"{asked.name}{asked.specifier} {' '.join(hashes)}")
    return found


@contextmanager
def wheels_of(lock: Path, python: BasePython) -> Iterator[list[Path]]:
    """The wheels of a lock, in the order of their names, for as long as the context lasts.

    pip fetches them from the index that it is configured for, and takes none whose hash is not in the lock.

    Raises:
        ImageError: if one cannot be had, or the lock is none.
    """
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        wanted, into = Path(folder) / "requirements.txt", Path(folder) / "wheels"
        wanted.write_text("\n".join(pinned_for(lock.read_text(), python.markers)) + "\n")
        into.mkdir()
        _download(wanted, into, python, lock.name)
        yield sorted(into.iterdir())


def _download(wanted: Path, into: Path, python: BasePython, lock: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    strict = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    machine = [f"--python-version={python.version}", *(f"--platform={one}" for one in python.wheel_platforms)]
    environment = {name: value for name, value in os.environ.items() if _NEEDED.fullmatch(name)}
    try:
        done = subprocess.run(
            [*command, *strict, *machine, f"--dest={into}", f"--requirement={wanted}"],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            f"The wheels of {lock} were not there after {_SECONDS:.0f} s; see how the index answers."
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip said nothing"]
        why = redacted(said[-1][:300])
        raise ImageError(
            f"The wheels of {lock} for Python {python.version} on {python.machine} cannot be had: {why} See "
            "whether pip reaches its index here (PIP_INDEX_URL), or build the image where there is an engine."
        )
