from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from picklescan.scanner import scan_file_path  # type: ignore[import-untyped]

from banana_delivery.sample_data.leaves import CLASSES
from examples import broken
from examples.quiet import ultralytics


def _load(file: Path) -> Any:
    return ultralytics().YOLO(file)


def test_a_truncated_checkpoint_cannot_be_read(tmp_path: Path) -> None:
    file = broken.truncated(tmp_path)
    with pytest.raises((RuntimeError, pickle.UnpicklingError, EOFError)):
        torch.load(file, weights_only=False)


def test_a_text_file_is_no_checkpoint(tmp_path: Path) -> None:
    file = broken.not_a_torch_file(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=False)


def test_the_hostile_pickle_runs_when_it_is_unpickled_and_only_then(tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    file = broken.pickle_that_runs_code(tmp_path / "model", marker)
    scan_file_path(str(file))
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists()


def test_a_pickle_scan_finds_the_hostile_one(tmp_path: Path) -> None:
    file = broken.pickle_that_runs_code(tmp_path, tmp_path / "it ran")
    assert scan_file_path(str(file)).issues_count > 0


def test_the_classification_model_is_a_sound_model_of_another_task(tmp_path: Path) -> None:
    assert _load(broken.classification_model(tmp_path)).task == "classify"


def test_reordered_classes_are_the_same_classes(tmp_path: Path) -> None:
    names = list(_load(broken.reordered_classes(tmp_path)).names.values())
    assert names == list(reversed(CLASSES))


def test_different_classes_share_no_name(tmp_path: Path) -> None:
    names = _load(broken.different_classes(tmp_path)).names.values()
    assert len(names) == len(CLASSES)
    assert not set(names) & set(CLASSES)


def test_nan_weights_are_in_an_otherwise_sound_detector(tmp_path: Path) -> None:
    model = _load(broken.nan_weights(tmp_path))
    assert model.task == "detect"
    assert list(model.names.values()) == list(CLASSES)
    assert any(torch.isnan(weights).any() for weights in model.model.parameters())
