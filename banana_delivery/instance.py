"""The Dagster instance that holds the audit trail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from banana_delivery.settings import Settings


def dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME if it is set, otherwise the embedded stack's own."""
    return Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster")


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance, opened for the block."""
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        yield instance
