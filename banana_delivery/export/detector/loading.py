"""From a scanned checkpoint to a detector that can be delivered, or to the sentence that says why it cannot."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from ultralytics import __version__
from ultralytics.models import RTDETR, YOLO
from ultralytics.nn import tasks
from ultralytics.utils import loss, patches, tal
from ultralytics.utils.checks import check_imgsz

from banana_delivery.errors import (
    BrokenWeightsError,
    NotADetectorError,
    RejectedModelError,
    UnreadableCheckpointError,
    UnsupportedModelError,
)
from banana_delivery.export.protocol import Frame
from banana_delivery.quoting import cited

# Theirs wants to install a reader of HEIC for whatever Pillow cannot open: where it must not, a file that is no image
# ends in a missing module, `pi_heif`, instead of in its own fault.
Image.open = patches._image_open

STRIDE = 32
"""Least step of a frame's sides, whatever the model's: ultralytics' own."""
SMALLEST, LARGEST = 32, 4096
MOST_CLASSES = 10_000
COLOURS = 3
OWN_FAULTS = (MemoryError, PermissionError, BlockingIOError)
"""Of this machine, whoever's code raises them."""
_FLAT = "ultralytics.yolo.utils"


@dataclass(frozen=True)
class Detector:
    """A sound detector.

    Attributes:
        yolo: the loaded model.
        classes: names, in the order of their ids.
        frame: what it takes.
    """

    yolo: YOLO | RTDETR
    classes: tuple[str, ...]
    frame: Frame

    @property
    def network(self) -> Any:
        """The network itself."""
        return self.yolo.model


def load(checkpoint: Path) -> Detector:
    """Load a scanned checkpoint and make sure that it can be delivered.

    Raises:
        RejectedModelError: if it cannot; the subclass says why.
    """
    _know_former_modules()
    try:
        return _sound(checkpoint)
    except RejectedModelError:
        raise
    except Exception as error:
        # Not all of OSError: ultralytics raises one, too, for what it finds in a file.
        if isinstance(error, OWN_FAULTS) or lacks_memory(error):
            raise
        raise UnreadableCheckpointError(
            f"{checkpoint.name} cannot be loaded as an ultralytics model ({said(error)}): register the best.pt of a "
            "training run."
        ) from error


def _sound(checkpoint: Path) -> Detector:
    yolo = YOLO(checkpoint)
    task, network = str(yolo.task), _checked_network(yolo)
    if task != "detect":
        raise NotADetectorError(
            f"{checkpoint.name} holds a model for the task {cited(task)}, not a detector: register a version "
            "that was trained with task 'detect'."
        )
    _check_weights(checkpoint.name, network)
    return Detector(yolo, _classes(checkpoint.name, network), _frame(checkpoint.name, yolo))


def said(error: Exception) -> str:
    """The kind and the first line of somebody else's error, within a sentence of ours."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {cited(lines[0][:200] if lines else 'no message')}"


def is_own_fault(error: Exception) -> bool:
    """Whether an error is this machine's and not the model's."""
    return isinstance(error, (*OWN_FAULTS, OSError)) or lacks_memory(error)


def lacks_memory(error: Exception) -> bool:
    """Whether torch could not get memory, which it says in a sentence of its own."""
    return "allocate memory" in str(error)


def _know_former_modules() -> None:
    """Tell torch what checkpoints of 8.0 call by the module in which it was then: the loss that a training left there.

    ultralytics itself knows these when it loads without restrictions.
    """
    known = {f"{_FLAT}.loss": loss, f"{_FLAT}.tal": tal}
    torch.serialization.add_safe_globals(
        [
            (kind, f"{name}.{kind.__name__}")
            for name, module in known.items()
            for kind in vars(module).values()
            if isinstance(kind, type) and kind.__module__ == module.__name__
        ]
    )


def _checked_network(yolo: Any) -> Any:
    """The network, if it has what every detector has."""
    network = yolo.model
    if not isinstance(network, tasks.BaseModel):
        raise TypeError(f"it holds a {type(network).__name__} and no model of ultralytics")
    return network


def _check_weights(name: str, network: Any) -> None:
    for tensor_name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BrokenWeightsError(
                f"{name} has weights that are not finite numbers (first in {cited(tensor_name)}): its training "
                "diverged, so train it again with a lower learning rate."
            )


def _classes(name: str, network: Any) -> tuple[str, ...]:
    """The names of the classes, as many as the network has outputs for."""
    names = getattr(network, "names", None)
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or sorted(map(str, names)) != sorted(map(str, range(len(names)))):
        raise UnsupportedModelError(
            f"{name} does not number its classes from 0 without gaps: {cited(str(names))}; train it with a data.yaml "
            "whose 'names' are a plain list."
        )
    listed = tuple(str(value) for _, value in sorted(names.items(), key=lambda one: int(one[0])))
    _check_names(name, listed)
    outputs = getattr(network.model[-1], "nc", len(listed))
    if outputs != len(listed):
        raise UnsupportedModelError(
            f"{name} names {len(listed)} classes, but its network has outputs for {outputs}, so nobody knows which is "
            "which: train it with the data.yaml whose names these are."
        )
    return listed


def _check_names(name: str, classes: Sequence[str]) -> None:
    if len(classes) > MOST_CLASSES:
        raise UnsupportedModelError(f"{name} names {len(classes):,} classes; up to {MOST_CLASSES:,} can be served.")
    for index, one in enumerate(classes):
        try:
            one.encode()
        except UnicodeEncodeError:
            raise UnsupportedModelError(
                f"{name} calls class {index} {cited(one)}, which is no text (half of a character of UTF-16): write the "
                "name anew in data.yaml and train again."
            ) from None


def _frame(name: str, yolo: Any) -> Frame:
    """What ``predict`` would give the network."""
    network = yolo.model
    channels = network.yaml.get("channels", COLOURS)
    if channels != COLOURS:
        raise UnsupportedModelError(f"{name} reads images of {channels} channels; only {COLOURS} can be served.")
    stride = max(int(network.stride.max()), STRIDE)
    trained: Any = yolo.overrides.get("imgsz", 640)
    sides = _sides(trained, stride)
    if sides is None or not all(SMALLEST <= side <= LARGEST for side in sides):
        raise UnsupportedModelError(
            f"{name} says that it was trained on images of {cited(repr(trained))} pixels, which is no size that "
            f"ultralytics predicts at: it has to be a whole number of {SMALLEST} to {LARGEST}, or two of them for "
            "height and width, so set 'imgsz' in train_args and save the checkpoint again."
        )
    return Frame(height=sides[0], width=sides[1], stride=stride, stretched=isinstance(yolo, RTDETR))


def _sides(trained: Any, stride: int) -> tuple[int, int] | None:
    """Height and width in whole strides; None for what ``predict`` would not take."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sides: Any = check_imgsz(trained, stride=stride, min_dim=2)  # type: ignore[no-untyped-call]
        height, width = (int(side) for side in sides)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(trained, bool) else (height, width)


def made_by() -> str:
    """The release of ultralytics that loads checkpoints here."""
    return f"ultralytics {__version__}"
