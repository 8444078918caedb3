import os
import subprocess
import sys
from pathlib import Path

from .detectors import write_model

FORBIDDEN = ("dagster", "torch", "ultralytics", "banana_delivery", "cv2", "mlflow", "onnx")

PROGRAM = """
import importlib, pkgutil, sys
import serving.server
print('sqlalchemy' in sys.modules)
for module in pkgutil.walk_packages(serving.__path__, 'serving.'):
    importlib.import_module(module.name)
print('serving.prediction_log.store' in sys.modules)
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_serving_imports_nothing_that_only_building_a_release_needs() -> None:
    command = [sys.executable, "-c", PROGRAM, *FORBIDDEN]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded_by_every_replica, all_were_imported, forbidden = result.stdout.splitlines()
    assert loaded_by_every_replica == "False", "only a replica that logs may load the database driver"
    assert all_were_imported == "True"
    assert forbidden == "[]"


def test_the_engine_reports_to_nobody_and_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "serving.selftest"]
    # A variable that continuous integration sets would quieten the engine, and with it this test.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "MODEL_PATH": str(model)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    assert list(home.iterdir()) == []
