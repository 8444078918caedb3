"""What all servers of the benchmark share: one model in two precisions, two images, one environment."""

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

from banana_delivery.export.precision.protocol import QuantiseRequest
from banana_delivery.export.precision.quantise_worker import quantise
from banana_delivery.sample_data.leaves import make

INPUT_SIZE = 320
SIZES = ((1280, 720), (640, 480))
EXPORT_SECONDS = 300
F32, INT8 = "f32", "int8"
CALIBRATION_IMAGES = 16
"""Of leaves that nobody is asked about; the weights are untrained, so that only the time is that of a real model."""


@dataclass(frozen=True)
class Material:
    """The checkpoint `best.pt`, its export with version.json in a folder for each precision, and the images."""

    folder: Path
    images: list[Path]

    def environment(self, port: int, precision: str = F32) -> dict[str, str]:
        """Environment of every contender; nobody reports home."""
        return os.environ | {
            "PORT": str(port),
            "MODEL_PATH": str(self.folder / precision / "model.onnx"),
            "INPUT_SIZE": str(INPUT_SIZE),
            "YOLO_CONFIG_DIR": str(self.folder),
            "YOLO_AUTOINSTALL": "false",
            "DO_NOT_TRACK": "1",
            "BENTOML_DO_NOT_TRACK": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # OpenVINO reports whenever it is imported, but not where software is tested.
            "CI": "true",
        }


def prepare(folder: Path) -> Material:
    """Makes everything in `folder`."""
    program = (
        "from ultralytics.models import YOLO; import torch; torch.manual_seed(0); model = YOLO('yolo26n.yaml');"
        f"model.save('best.pt'); YOLO('best.pt').export(format='onnx', imgsz={INPUT_SIZE}, dynamic=True, simplify=True)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, timeout=EXPORT_SECONDS)
    for precision in (F32, INT8):
        (folder / precision).mkdir()
    (folder / "best.onnx").rename(folder / F32 / "model.onnx")
    _describe(folder, F32)
    _quantise(folder)
    images = []
    for index, size in enumerate(SIZES):
        path = folder / f"{size[0]}x{size[1]}.jpg"
        _photograph(7, index, size, path)
        images.append(path)
    return Material(folder, images)


def export_for_peers(folder: Path, python: str) -> None:
    """Exports for OpenVINO, in the peers' environment and as ultralytics does by default."""
    program = f"from ultralytics.models import YOLO; YOLO('best.pt').export(format='openvino', imgsz={INPUT_SIZE})"
    settings = Material(folder, []).environment(0)
    subprocess.run(
        [python, "-c", program], cwd=folder, env=settings, check=True, capture_output=True, timeout=EXPORT_SECONDS
    )


def _quantise(folder: Path) -> None:
    """Makes integers of the model as a delivery does, whatever they lose: what `auto` takes of a trained one."""
    leaves = []
    for index in range(CALIBRATION_IMAGES):
        leaves.append(folder / f"calibration-{index}.jpg")
        _photograph(8, index, SIZES[index % len(SIZES)], leaves[-1])
    quantise(QuantiseRequest(model=folder / F32 / "model.onnx", to=folder / INT8 / "model.onnx", images=tuple(leaves)))
    _describe(folder, INT8)


def _photograph(seed: int, index: int, size: tuple[int, int], to: Path) -> None:
    Image.fromarray(np.ascontiguousarray(make(seed, index, size).image[:, :, ::-1])).save(to, quality=88)


def _describe(folder: Path, precision: str) -> None:
    model = folder / precision / "model.onnx"
    facts = {
        "model_name": "benchmark",
        "version": "1",
        "mlflow_run_id": "none",
        "source": "untrained yolo26n",
        "classes": [f"class {number}" for number in range(80)],
        "input_size": INPUT_SIZE,
        "checkpoint_sha256": hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest(),
        "onnx_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "exported_with": "ultralytics",
        "precision": precision,
    }
    model.with_name("version.json").write_text(json.dumps(facts))
