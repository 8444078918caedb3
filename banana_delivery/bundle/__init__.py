"""The files that the product reads at run time beside its own modules, found in one way wherever it is installed.

In a checkout they are links to the files at its top, in a wheel copies of them. What belongs here is a file that
running needs. Not: code that this package imports; the serving code runs in processes of its own, which find it by
``python_path``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).resolve().parent

PACKAGE = _HERE.parent
"""The product's own modules."""
SERVING_CODE = (_HERE / "serving").resolve()
"""The package that goes into every release image."""
SERVING_LOCK = (_HERE / "requirements" / "serving.txt").resolve()
"""The packages that it runs with, and their hashes."""
GPU_SERVING_LOCK = (_HERE / "requirements" / "serving-gpu.txt").resolve()
"""The same with the build of ONNX Runtime for NVIDIA GPUs."""
DOCKERFILE = (_HERE / "Dockerfile").resolve()
"""How a release image is made where there is a Docker engine."""
INSTANCE = (_HERE / "dagster.yaml").resolve()
"""The embedded stack's Dagster instance."""
WORKSPACE = (_HERE / "workspace.yaml").resolve()
"""Where Dagster finds the definitions."""
MANIFESTS = (_HERE / "k8s").resolve()
"""What kustomize reads: the demonstration's part of a cluster among it."""
SAMPLE_MODELS = (_HERE / "sample_models").resolve()
"""A folder a model, with ``best.pt`` and ``metrics.json``; the demonstration delivers them."""

CHECKOUT = SERVING_CODE.parent if (_HERE / "serving").is_symlink() else None
"""The checkout that this package lies in; None where it was installed from a wheel, which holds no links to folders."""


def serving_lock(device: str) -> Path:
    """What an image that is built for ``cpu`` or ``cuda`` holds."""
    return GPU_SERVING_LOCK if device == "cuda" else SERVING_LOCK


def python_path(parent: Mapping[str, str], *, serving: bool = False) -> str:
    """PYTHONPATH for a child, so that it imports what its parent does; empty if it needs none.

    Args:
        parent: the parent's environment.
        serving: whether the child imports the serving code of this very installation.
    """
    told = [str(Path(entry).absolute()) for entry in parent.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return os.pathsep.join([*([str(_HERE)] if serving else []), *told])
