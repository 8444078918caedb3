"""What Traefik reads once, when it starts."""

from __future__ import annotations

import re
from typing import Any

import yaml

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.settings import Settings
from banana_delivery.targets.metrics import ROUTER_BUCKETS

LISTENS = "ROUTER_LISTENS"
"""The variable that says where a router that was started listens."""
PORTS = ("production_port", "staging_port", "probe_port", "router_api_port")
"""The settings that choose it."""


def static_configuration(settings: Settings, paths: LocalPaths) -> dict[str, object]:
    """Where it listens, what it watches, and what it counts."""

    def entry_point(port: int) -> dict[str, object]:
        # Of two spellings of one header's name, X-Banana-Traffic and X_Banana_Traffic, only the first is let in.
        return {"address": f"127.0.0.1:{port}", "http": {"aliasHeadersStrategy": "delete"}}

    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN", "noColor": True},
        "api": {"dashboard": False},
        "entryPoints": {
            "production": entry_point(settings.production_port),
            "staging": entry_point(settings.staging_port),
            "probe": entry_point(settings.probe_port),
            "api": entry_point(settings.router_api_port),
        },
        "providers": {
            "providersThrottleDuration": "100ms",
            "file": {"directory": str(paths.router_dynamic), "watch": True},
        },
        "metrics": {
            "prometheus": {
                "entryPoint": "api",
                "addEntryPointsLabels": False,
                "addServicesLabels": True,
                "buckets": list(ROUTER_BUCKETS),
            }
        },
    }


def listens(settings: Settings) -> str:
    """Where it listens, as one word."""
    return ",".join(str(getattr(settings, name)) for name in PORTS)


def listens_as_before(settings: Settings, paths: LocalPaths) -> bool:
    """Whether the router that was started last listens where one that starts now would."""
    program = paths.programs / "router.ini"
    try:
        if program.is_file() and (told := re.search(rf"{LISTENS}=\W?([\d,]+)", program.read_text())):
            return told[1] == listens(settings)
        # An older version started it, which did not say so there.
        before: Any = yaml.safe_load(paths.router_static.read_text())
        return _addresses(before) == _addresses(static_configuration(settings, paths))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False


def _addresses(static: Any) -> dict[str, str]:
    return {name: point["address"] for name, point in static["entryPoints"].items()}
