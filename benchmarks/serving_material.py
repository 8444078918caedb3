"""What all servers of the benchmark share: one model, two images, one environment."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from banana_delivery.sample_data.leaves import make

INPUT_SIZE = 320
SIZES = ((1280, 720), (640, 480))
EXPORT_SECONDS = 300


@dataclass(frozen=True)
class Material:
    """The checkpoint `best.pt`, its export `model.onnx` with version.json, and the images, in one folder."""

    folder: Path
    images: list[Path]

    def environment(self, port: int) -> dict[str, str]:
        """Environment of every contender; nobody reports home."""
        return os.environ | {
            "PORT": str(port),
            "MODEL_PATH": str(self.folder / "model.onnx"),
            "CHECKPOINT": str(self.folder / "best.pt"),
            "INPUT_SIZE": str(INPUT_SIZE),
            "YOLO_CONFIG_DIR": str(self.folder),
            "YOLO_AUTOINSTALL": "false",
            "DO_NOT_TRACK": "1",
            "BENTOML_DO_NOT_TRACK": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


def prepare(folder: Path) -> Material:
    """Makes everything in `folder`."""
    program = (
        "from ultralytics.models import YOLO; import torch; torch.manual_seed(0); model = YOLO('yolo26n.yaml');"
        f"model.save('best.pt'); YOLO('best.pt').export(format='onnx', imgsz={INPUT_SIZE}, dynamic=True, simplify=True)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, timeout=EXPORT_SECONDS)
    (folder / "best.onnx").rename(folder / "model.onnx")
    (folder / "version.json").write_text(json.dumps(_version(folder)))
    images = []
    for index, size in enumerate(SIZES):
        path = folder / f"{size[0]}x{size[1]}.jpg"
        Image.fromarray(np.ascontiguousarray(make(7, index, size).image[:, :, ::-1])).save(path, quality=88)
        images.append(path)
    return Material(folder, images)


def _version(folder: Path) -> dict[str, object]:
    return {
        "model_name": "benchmark",
        "version": "1",
        "mlflow_run_id": "none",
        "source": "untrained yolo26n",
        "classes": [f"class {number}" for number in range(80)],
        "input_size": INPUT_SIZE,
        "checkpoint_sha256": hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest(),
        "onnx_sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "exported_with": "ultralytics",
    }
