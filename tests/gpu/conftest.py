import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.inference.device.cuda import is_built_in
from serving.inference.device.driver import trouble
from tests import ROOT
from tests.gpu.replicas import Replica, replica

INPUT_SIZE = 640


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    """Ends everything in one sentence where there is nothing to test on."""
    built = "" if is_built_in() else "this onnxruntime is built without CUDA; start it by `make test-gpu`"
    if why := built or trouble():
        pytest.exit(f"These tests need an NVIDIA GPU and its driver (tests/gpu/__init__.py says which): {why}.", 2)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Paths of model.onnx."""
    if named := os.environ.get("GPU_MODELS"):
        return [Path(folder) / "model.onnx" for folder in named.split(":")]
    return [exported(tmp_path_factory.mktemp("raw")), exported(tmp_path_factory.mktemp("end-to-end"), nms=False)]


@pytest.fixture(scope="session")
def on_gpu(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """One replica that the tests may ask and must leave as it is."""
    with replica(models[0], tmp_path_factory.mktemp("on-gpu")) as running:
        yield running


def exported(folder: Path, **options: object) -> Path:
    """The sample model at 640 pixels."""
    from ultralytics.models import YOLO

    checkpoint, path = folder / "best.pt", folder / "model.onnx"
    shutil.copy(ROOT / "examples/models/better/best.pt", checkpoint)
    model = YOLO(checkpoint)
    made = model.export(format="onnx", imgsz=INPUT_SIZE, dynamic=True, simplify=False, verbose=False, **options)
    shutil.move(made, path)
    version = {
        "model_name": "banana_sigatoka_detector",
        "version": "1",
        "mlflow_run_id": "none",
        "source": "examples",
        "classes": list(model.names.values()),
        "input_size": INPUT_SIZE,
        "checkpoint_sha256": "0" * 64,
        "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "exported_with": "ultralytics",
    }
    path.with_name("version.json").write_text(json.dumps(version))
    return path
