"""The sample models and the runs that trained them: the demonstration delivers them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from banana_delivery.bundle import SAMPLE_MODELS


def sample_run(name: str) -> tuple[Path, dict[str, float], dict[str, Any]]:
    """Return the checkpoint, the metrics and the parameters of a sample model."""
    record = json.loads((SAMPLE_MODELS / name / "metrics.json").read_text())
    metrics = {"mAP50": record["mAP50"], "training_seconds": record["seconds"]}
    metrics |= {f"mAP50_{kind}": value for kind, value in record["mAP50_by_class"].items()}
    return SAMPLE_MODELS / name / "best.pt", metrics, {"sample": name, **record["training"]}
