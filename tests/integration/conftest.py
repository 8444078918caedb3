"""What goes to which of the processes that share the tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

EXPENSIVE = ("mlflow_server", "exported", "converted", "precision", "shared_replica", "tiny_checkpoint")
"""Fixtures that take seconds to make: whatever asks for one runs in one process, which makes it once."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        for fixture in EXPENSIVE:
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(fixture))
