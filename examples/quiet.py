"""Ultralytics without a network: no telemetry, no trackers, no downloads, nothing installed, no file in the home."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml
from PIL import Image

if TYPE_CHECKING:
    from ultralytics.models import YOLO

TRACKERS = ("sync", "clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


def keep_to_itself() -> None:
    """Say so in what ultralytics reads when it is imported; what this process's environment says already stands."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        home = tempfile.TemporaryDirectory(prefix="ultralytics-")
        atexit.register(home.cleanup)
        os.environ["YOLO_CONFIG_DIR"] = home.name


@cache
def ultralytics() -> ModuleType:
    """Import ultralytics, kept to itself."""
    keep_to_itself()
    opened = Image.open
    import ultralytics as package
    from matplotlib import font_manager  # heavy
    from ultralytics.utils import USER_CONFIG_DIR

    # Theirs wants to install a reader of HEIC for whatever Pillow cannot open.
    Image.open = opened
    settings: Any = package.settings
    settings.update({key: False for key in TRACKERS if key in settings})
    # Training downloads this font unless it finds a file of that name.
    shutil.copy(font_manager.findfont("DejaVu Sans"), USER_CONFIG_DIR / "Arial.ttf")
    return package


def untrained(architecture: str, width: float, classes: int, work: Path) -> YOLO:
    """Build a model with random weights.

    Args:
        architecture: a file of ultralytics' ``cfg/models/26`` without its ending, such as ``yolo26``.
        width: width multiplier; the depth is that of scale ``n``.
        classes: number of classes.
        work: directory that receives the architecture file.
    """
    package = ultralytics()
    source = Path(str(package.__file__)).parent / "cfg" / "models" / "26" / f"{architecture}.yaml"
    definition = yaml.safe_load(source.read_text())
    depth, _, channels = definition["scales"]["n"]
    definition |= {"nc": classes, "scales": {"n": [depth, width, channels]}}
    file = work / architecture.replace("yolo26", "yolo26n")
    file = file.with_name(f"{file.name}.yaml")
    file.write_text(yaml.safe_dump(definition))
    model: YOLO = package.YOLO(file)
    return model
