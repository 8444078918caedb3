"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from examples.quiet import keep_to_itself

# A slow machine is no fault of what is tested.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Before a test imports ultralytics, whichever comes first: it would look for a network, install what it misses, and
# keep its settings in the home of whoever runs the tests. Processes that share the tests do not share these.
os.environ.pop("YOLO_CONFIG_DIR", None)
keep_to_itself()

UMASK = 0o022
"""That of most shells: what a test makes is never for its owner alone by chance."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Begin each test with the same modes for files: `up` changes those of the whole process."""
    os.umask(UMASK)
    return (yield)
