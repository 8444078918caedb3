import subprocess
import sys

FORBIDDEN = ("dagster", "torch", "ultralytics", "banana_delivery", "cv2", "mlflow", "onnx")

PROGRAM = """
import importlib, pkgutil, sys
import serving.server
print('sqlalchemy' in sys.modules)
for module in pkgutil.walk_packages(serving.__path__, 'serving.'):
    importlib.import_module(module.name)
print('serving.prediction_store' in sys.modules)
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_serving_imports_nothing_that_only_building_a_release_needs() -> None:
    command = [sys.executable, "-c", PROGRAM, *FORBIDDEN]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded_by_every_replica, all_were_imported, forbidden = result.stdout.splitlines()
    assert loaded_by_every_replica == "False", "only a replica that logs may load the database driver"
    assert all_were_imported == "True"
    assert forbidden == "[]"
