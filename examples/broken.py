"""Makes checkpoints that must not be delivered, one function a defect. Each writes ``best.pt`` into a directory.

They start from the committed modest sample wherever the defect allows, so that nothing else is wrong with them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.quiet import ultralytics, untrained
from examples.train import INPUT_SIZE, MODELS

SOUND_MODEL = MODELS / "modest" / "best.pt"


class _RunsCode:
    """Pickles to a call that leaves a marker file, as an attacker's would leave something worse."""

    def __init__(self, marker: Path) -> None:
        self._code = f"open({str(marker)!r}, 'w').close()"

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return exec, (self._code,)


def truncated(directory: Path) -> Path:
    """A download that broke off half-way."""
    content = SOUND_MODEL.read_bytes()
    return _write(directory, content[: len(content) // 2])


def not_a_torch_file(directory: Path) -> Path:
    """Somebody logged the wrong file: a text."""
    return _write(directory, b"epoch,loss,mAP50\n1,2.31,0.412\n2,1.87,0.533\n")


def pickle_that_runs_code(directory: Path, marker: Path) -> Path:
    """A well-formed torch file that creates ``marker`` if anything ever unpickles it."""
    return _save(directory, {"model": _RunsCode(marker), "train_args": {"task": "detect"}})


def classification_model(directory: Path) -> Path:
    """A sound model of the wrong task: it says what a picture shows, not where."""
    with tempfile.TemporaryDirectory() as work:
        model: Any = untrained("yolo26-cls", width=0.125, classes=2, work=Path(work)).model
    arguments = {"task": "classify", "imgsz": INPUT_SIZE}
    model.args = arguments
    return _save(directory, {"model": model.half(), "ema": None, "train_args": arguments})


def reordered_classes(directory: Path) -> Path:
    """The same classes in another order: every answer is then the other class."""
    return _altered(directory, lambda model: _rename(model, list(reversed(model.names.values()))))


def different_classes(directory: Path) -> Path:
    """A detector of other diseases."""
    return _altered(directory, lambda model: _rename(model, ["cordana_spot", "rust"]))


def nan_weights(directory: Path) -> Path:
    """A training that diverged: some weights are not numbers."""
    return _altered(directory, lambda model: next(model.parameters()).data.fill_(float("nan")))


def _rename(model: Any, names: list[str]) -> None:
    model.names = dict(enumerate(names))


def _altered(directory: Path, alter: Callable[[Any], object]) -> Path:
    import torch  # heavy

    ultralytics()
    checkpoint = torch.load(SOUND_MODEL, map_location="cpu", weights_only=False)
    alter(checkpoint["model"])
    return _save(directory, checkpoint)


def _save(directory: Path, checkpoint: dict[str, Any]) -> Path:
    import torch  # heavy

    directory.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, directory / "best.pt")
    return directory / "best.pt"


def _write(directory: Path, content: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "best.pt").write_bytes(content)
    return directory / "best.pt"
