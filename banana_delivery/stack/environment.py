"""The settings as environment variables: the stack's processes are to see exactly what its starter saw."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pydantic import SecretStr

from banana_delivery.settings import PROJECT_ROOT, Settings


def children_environment(settings: Settings) -> dict[str, str]:
    """The environment for supervisord and, through it, for every process of the stack."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    return {
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        **inherited,
        **settings_environment(settings),
        "DAGSTER_HOME": str(settings.home / "dagster"),
        # The daemon is up before it knows the assets; without this it gives up a backfill that was under way.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def settings_environment(settings: Settings) -> dict[str, str]:
    """Every setting as its ``BANANA_*`` variable, secrets included; one that is not set is left out."""
    values = {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}
    return {
        variable(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"BANANA_{setting.upper()}"


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
