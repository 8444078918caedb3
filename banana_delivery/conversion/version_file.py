"""``version.json``: what a model says of itself wherever it runs. Equal facts give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

from banana_delivery.conversion.protocol import Exported
from banana_delivery.registry.base import ModelVersion

VERSION_FILE = "version.json"


def write_version_file(
    folder: Path, model: ModelVersion, exported: Exported, checkpoint_sha256: str, onnx_sha256: str
) -> Path:
    """Write ``folder/version.json`` and return its path."""
    facts = {
        "model_name": model.name,
        "version": model.version,
        "mlflow_run_id": model.run_id,
        "source": model.source,
        "classes": list(exported.classes),
        "input_size": exported.input_size,
        "checkpoint_sha256": checkpoint_sha256,
        "onnx_sha256": onnx_sha256,
        "exported_with": exported.exported_with,
    }
    path = folder / VERSION_FILE
    path.write_text(json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
