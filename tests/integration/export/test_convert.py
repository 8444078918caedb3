"""Real checkpoints through the real export, and hostile or broken ones that must not get there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from banana_delivery.errors import (
    BrokenWeightsError,
    ExportError,
    NotADetectorError,
    RejectedModelError,
    UnreadableCheckpointError,
    UnsafeModelError,
)
from banana_delivery.export.export import Artifact, export_model, export_onnx
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.sample_data.leaves import CLASSES, write_dataset
from examples import broken
from examples.train import INPUT_SIZE, MODELS
from tests.unit.export.archives import archive, call

SAMPLE = MODELS / "better" / "best.pt"
MODEL = ModelVersion(
    name="m", version="1", run_id="r", source="s", stage="None", aliases=(), tags={}, metrics={}, created_at=0.0
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("leaves")
    write_dataset(folder, 24, seed=5)
    return sorted((folder / "images").iterdir())


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, images: list[Path]) -> tuple[Path, Artifact]:
    folder = tmp_path_factory.mktemp("converted")
    return folder, export_model(SAMPLE, folder, MODEL, images, progress=lambda _: None)


def test_a_trained_detector_becomes_an_onnx_file_that_answers_alike(converted: tuple[Path, Artifact]) -> None:
    folder, artifact = converted
    assert artifact.classes == tuple(CLASSES)
    assert artifact.input_size == INPUT_SIZE
    assert artifact.parity.passed, artifact.parity.reason
    assert artifact.parity.same_pixels.detections >= 24
    assert artifact.parity.same_pixels.max_box_difference_px < 0.01
    assert artifact.checkpoint_sha256 == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    assert artifact.onnx_sha256 == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert sorted(file.name for file in folder.iterdir()) == ["model.onnx", "version.json"]


def test_equal_checkpoints_give_equal_files(
    converted: tuple[Path, Artifact], tmp_path: Path, images: list[Path]
) -> None:
    folder, _ = converted
    elsewhere = tmp_path / "another folder"
    elsewhere.mkdir()
    export_model(SAMPLE, elsewhere, MODEL, images[:8], progress=lambda _: None)
    for name in ("model.onnx", "version.json"):
        assert (elsewhere / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("defect", "error", "sentence"),
    [
        (broken.truncated, UnreadableCheckpointError, "no whole torch checkpoint"),
        (broken.not_a_torch_file, UnreadableCheckpointError, "another kind of file"),
        (broken.classification_model, NotADetectorError, "task 'classify'"),
        (broken.nan_weights, BrokenWeightsError, "not finite numbers"),
    ],
)
def test_a_model_that_must_not_be_delivered_is_one_sentence_and_changes_nothing(
    tmp_path: Path, defect: Callable[[Path], Path], error: type[RejectedModelError], sentence: str
) -> None:
    to = tmp_path / "to"
    to.mkdir()
    (to / "model.onnx").write_bytes(b"of an earlier delivery")
    with pytest.raises(error, match=sentence) as caught:
        export_model(defect(tmp_path / "from"), to, MODEL, [], progress=lambda _: None)
    assert "\n" not in str(caught.value)
    assert [(file.name, file.read_bytes()) for file in to.iterdir()] == [("model.onnx", b"of an earlier delivery")]


def test_a_pickle_that_runs_code_is_rejected_unrun(tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    checkpoint = broken.pickle_that_runs_code(tmp_path / "from", marker)
    with pytest.raises(UnsafeModelError, match=r"builtin\w*\.exec"):
        export_model(checkpoint, tmp_path, MODEL, [], progress=lambda _: None)
    assert not marker.exists()


@pytest.mark.parametrize("trick", ["exec", "a model whose activation is code"])
def test_code_that_got_past_the_scan_does_not_run_in_the_subprocess_either(tmp_path: Path, trick: str) -> None:
    marker = tmp_path / "it ran"
    code = f"open({str(marker)!r}, 'w').close()"
    layers = {"activation": code, "nc": 1, "backbone": [[-1, 1, "nn.Identity", []]], "head": []}
    pickles = {
        "exec": call("builtins", "exec", code),
        "a model whose activation is code": call("ultralytics.nn.tasks", "DetectionModel", layers),
    }
    checkpoint = archive(tmp_path / "best.pt", pickles[trick])
    with pytest.raises(UnreadableCheckpointError, match="cannot be loaded"):
        export_onnx(checkpoint, tmp_path / "model.onnx", (), tmp_path, timeout=100.0)
    assert not marker.exists()
    with contextlib.suppress(Exception):
        torch.load(checkpoint, weights_only=False)
    assert marker.exists(), "the trick is a dud and proves nothing"


def test_a_folder_that_cannot_be_written_is_no_rejection(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="look at the disk"):
        export_model(SAMPLE, tmp_path / "missing", MODEL, [], progress=lambda _: None)
