"""A kubeconfig for servers that a test has started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

NOWHERE = {"nowhere": "http://127.0.0.1:9"}
"""Where nobody listens: as the first server, whatever does not choose its context fails."""


def write_kubeconfig(file: Path, servers: Mapping[str, str], token: str = "") -> Path:
    """Write one with a context of the same name for each server, the first one current; returns its path."""
    user = {"token": token} if token else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in servers.items()],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "user"}} for name in servers],
        "current-context": next(iter(servers)),
    }
    file.write_text(json.dumps(config))
    return file
