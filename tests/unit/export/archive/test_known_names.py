"""Checkpoints of every kind of release of ultralytics are let through.

``tests/fixtures/ultralytics_names.json`` holds what each release really wrote: its detectors were built by its own code
from its own architectures, with the loss that its trainer leaves in a checkpoint, and saved by ``torch.save``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banana_delivery.export.archive.known_names import ALLOWED, is_allowed
from banana_delivery.export.checkpoint_scan import scan
from tests import ROOT
from tests.unit.export.archives import PROTOCOL, archive

WRITTEN: dict[str, list[list[str]]] = json.loads((ROOT / "tests/fixtures/ultralytics_names.json").read_text())
YOLOV10 = [
    ["ultralytics.nn.tasks", "YOLOv10DetectionModel"],
    ["ultralytics.nn.modules.head", "v10Detect"],
    ["ultralytics.nn.modules.block", "RepVGGDW"],
    ["ultralytics.utils.loss", "v10DetectLoss"],
    ["ultralytics.utils.loss", "v8DetectionLoss"],
]
"""What the authors' own code of YOLOv10 writes, beside what the releases write."""


def asking_for(names: list[list[str]]) -> bytes:
    """A pickle that asks for every name and does nothing with it."""
    return PROTOCOL + b"(" + b"".join(f"c{module}\n{name}\n".encode() for module, name in names) + b"l."


@pytest.mark.parametrize("release", [*WRITTEN, "YOLOv10"])
def test_a_checkpoint_of_every_release_passes(tmp_path: Path, release: str) -> None:
    names = WRITTEN.get(release, YOLOV10)
    content = asking_for(names).replace(b"l.", b"t.")
    report = scan(archive(tmp_path / "best.pt", content))
    assert len(report.imports) == len({tuple(name) for name in names})


def test_the_releases_reach_from_the_first_to_the_installed_one() -> None:
    from importlib.metadata import version

    minors = {release.rsplit(".", 1)[0] for release in WRITTEN}
    assert {"8.0", "8.1", "8.2", "8.3", "8.4"} <= minors
    assert {"8.0.0", "8.0.135", "8.0.136", "8.2.103", version("ultralytics")} <= set(WRITTEN)
    assert ["ultralytics.utils.loss", "v8DetectionLoss"] in WRITTEN["8.0.136"], "the loss is what was refused once"


@pytest.mark.parametrize(
    "name", ["attempt_load_weights", "parse_model", "SafeUnpickler", "torch_safe_load", "yaml_load"]
)
def test_what_is_no_part_of_a_model_is_not_allowed(name: str) -> None:
    assert not is_allowed("ultralytics.nn.tasks", name)


def test_nothing_that_is_allowed_is_more_than_a_name() -> None:
    assert all("." not in name and module.split(".")[0] not in {"os", "sys", "subprocess"} for module, name in ALLOWED)
