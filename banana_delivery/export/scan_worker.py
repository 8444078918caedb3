"""The subprocess that reads a checkpoint first: judges its bytes and writes the archive that may be loaded.

``python -m banana_delivery.export.scan_worker REQUEST ANSWER TIMEOUT``
"""

from __future__ import annotations

import resource
import sys

from banana_delivery.errors import UnsafeModelError
from banana_delivery.export.checkpoint_scan import ScanReport, scan
from banana_delivery.export.protocol import ScanRequest
from banana_delivery.export.sandbox import serve

MAX_MEMORY = 1024**3
"""Bytes of private memory. The largest pickle that is read needs a third of it."""


def judge(request: ScanRequest) -> ScanReport:
    """Scan, and write what was scanned.

    Raises:
        RejectedModelError: if the checkpoint must not be loaded.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    try:
        return scan(request.checkpoint, request.checked)
    except (MemoryError, RecursionError):
        raise UnsafeModelError(
            f"Reading {request.checkpoint.name} costs more memory than any detector does, so it was not loaded: find "
            "out who made this file."
        ) from None


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], ScanRequest, judge))
