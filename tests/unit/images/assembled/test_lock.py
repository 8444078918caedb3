from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from banana_delivery.bundle import GPU_SERVING_LOCK, SERVING_LOCK
from banana_delivery.errors import ImageError
from banana_delivery.images.assembled.base_python import BasePython
from banana_delivery.images.assembled.lock import pinned_for

HASH = "--hash=sha256:" + "a" * 64
MARKERS = BasePython(PurePosixPath("/usr/bin/python3"), 11, 36, "aarch64").markers


def test_conditions_are_asked_of_the_images_machine_and_not_of_this_one() -> None:
    lock = (
        "# by uv\n"
        f"one==1.0 ; python_full_version < '3.12' \\\n    {HASH} \\\n    {HASH}\n    # via something\n"
        f"one==2.0 ; python_full_version >= '3.12' \\\n    {HASH}\n"
        f"two==1.0 ; platform_machine == 'aarch64' \\\n    {HASH}\n"
        f"three==1.0 ; sys_platform == 'win32' \\\n    {HASH}\n"
    )

    assert pinned_for(lock, MARKERS) == [f"one==1.0 {HASH} {HASH}", f"two==1.0 {HASH}"]


@pytest.mark.parametrize("line", ["one==1.0\n", f"one>=1.0 {HASH}\n", f"one==1.* {HASH}\n", f"one {HASH}\n"])
def test_what_is_not_pinned_by_version_and_hash_is_refused(line: str) -> None:
    with pytest.raises(ImageError, match="does not pin one"):
        pinned_for(line, MARKERS)


def test_an_option_of_pip_is_no_requirement() -> None:
    with pytest.raises(ImageError, match="no requirement"):
        pinned_for("--index-url https://elsewhere.example/simple\n", MARKERS)


@pytest.mark.parametrize("lock", [SERVING_LOCK, GPU_SERVING_LOCK])
def test_the_real_locks_name_each_package_once_for_a_machine(lock: object) -> None:
    found = pinned_for(SERVING_LOCK.read_text() if lock is SERVING_LOCK else GPU_SERVING_LOCK.read_text(), MARKERS)
    names = [re.split("==", line)[0] for line in found]

    assert {"numpy", "uvloop", "fastapi"} <= set(names)
    assert len(names) == len(set(names))
