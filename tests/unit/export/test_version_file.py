from __future__ import annotations

import json
from pathlib import Path

from banana_delivery.export.export import write_version_file
from banana_delivery.export.protocol import Exported
from banana_delivery.export.protocol import Frame as Taken
from banana_delivery.images.release import key_of
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.quality.precision import AS_ASKED, Precision, PrecisionChoice
from serving.inference.model import read_version
from serving.inference.preprocess import Frame
from tests.contract.image_store_contract import Sources

MODEL = ModelVersion(
    name="banana_sigatoka_detector",
    version="7",
    run_id="0123",
    source="runs:/0123/weights",
    stage="Staging",
    aliases=("staging",),
    tags={"banana.outcome": "parked"},
    metrics={"mAP50": 0.7},
    created_at=1_700_000_000.0,
)
EXPORTED = Exported(
    classes=("early_streak", "Spät"),
    frame=Taken(width=160, height=96, stride=32, stretched=False),
    exported_with="ultralytics 8",
    answers=(),
    frames=(),
    frame_answers=(),
)


def test_the_serving_application_reads_it(tmp_path: Path) -> None:
    path = write_version_file(tmp_path, MODEL, EXPORTED, "a" * 64, "b" * 64)
    read = read_version(path.with_name("model.onnx"))
    assert (read.model_name, read.version, read.mlflow_run_id) == ("banana_sigatoka_detector", "7", "0123")
    assert (read.classes, read.input_size) == (["early_streak", "Spät"], 160)
    assert (read.takes.width, read.takes.height, read.takes.stride, read.takes.stretched) == (160, 96, 32, False)
    assert (read.checkpoint_sha256, read.onnx_sha256) == ("a" * 64, "b" * 64)


def test_a_file_from_before_there_were_frames_means_what_it_meant(tmp_path: Path) -> None:
    path = write_version_file(tmp_path, MODEL, EXPORTED, "a" * 64, "b" * 64)
    before = json.loads(path.read_text())
    del before["frame"]
    path.write_text(json.dumps(before))
    assert read_version(path.with_name("model.onnx")).takes == Frame.square(160)


def test_what_changes_in_the_registry_does_not_change_the_file(tmp_path: Path) -> None:
    first = write_version_file(tmp_path, MODEL, EXPORTED, "a" * 64, "b" * 64).read_bytes()
    moved = MODEL.replace(stage="Production", aliases=("production",), tags={}, metrics={})
    assert write_version_file(tmp_path, moved, EXPORTED, "a" * 64, "b" * 64).read_bytes() == first


INT8 = PrecisionChoice(taken=Precision.INT8, reason="int8 is served: it loses nothing.", gain=1.5)


def test_it_says_what_the_model_computes_in_and_why(tmp_path: Path) -> None:
    read = read_version(write_version_file(tmp_path, MODEL, EXPORTED, "a" * 64, "b" * 64))
    assert (read.precision, read.precision_reason) == ("f32", "BANANA_PRECISION is f32.")
    read = read_version(write_version_file(tmp_path, MODEL, EXPORTED, "a" * 64, "b" * 64, INT8))
    assert (read.precision, read.precision_reason) == ("int8", "int8 is served: it loses nothing.")


def test_a_file_from_before_there_was_a_choice_is_about_f32(tmp_path: Path) -> None:
    path = write_version_file(tmp_path, MODEL, EXPORTED, "a" * 64, "b" * 64)
    before = {key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("precision")}
    path.write_text(json.dumps(before))
    assert read_version(path).precision == "f32"


def test_two_precisions_of_a_version_never_share_an_image_and_one_does_with_itself(tmp_path: Path) -> None:
    context = Sources(tmp_path).context()

    def key(precision: PrecisionChoice) -> str:
        write_version_file(context.model_directory, MODEL, EXPORTED, "a" * 64, "b" * 64, precision)
        return key_of(context, "base", "linux/amd64").sha256

    assert key(INT8) != key(AS_ASKED)
    # How fast the machine was today is no part of it.
    assert key(INT8) == key(INT8.replace(gain=1.6))
