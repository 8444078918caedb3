"""`mlflow models serve`: the model as a pyfunc that takes base64; as a program it writes the model and serves it."""

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pyfunc.model
import pandas as pd


class Bananas(mlflow.pyfunc.model.PythonModel):  # type: ignore[misc,name-defined]
    """Loads the detector once for each worker process."""

    def load_context(self, context: Any) -> None:  # noqa: ARG002 - mlflow passes it by this name
        """Loads the model."""
        from benchmarks.peers.detector import Detector

        self.detector = Detector()

    def predict(self, model_input: pd.DataFrame) -> list[list[dict[str, Any]]]:
        """Detects in each row."""
        return [self.detector.predict(base64.b64decode(row)) for row in model_input["image"]]


def main() -> None:
    """Saves the model beside nothing else and replaces this process by the server."""
    path = Path(tempfile.mkdtemp()) / "model"
    mlflow.pyfunc.save_model(path, python_model=Bananas(), pip_requirements=[])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(path), "--env-manager", "local"]
    # It starts uvicorn by name, and the model imports this package.
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(Path.cwd())}
    raise SystemExit(
        subprocess.call([*command, "-p", os.environ["PORT"], "-w", os.environ["WORKERS"]], env=os.environ | paths)
    )


if __name__ == "__main__":
    main()
