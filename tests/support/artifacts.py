"""The record of an exported model, for whatever comes after the export."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.policy.asset_records import ArtifactRecord


def artifact_record(
    directory: Path | str, version: str, *, source: str = "runs:/run", onnx_sha256: str = "d" * 64
) -> ArtifactRecord:
    """A sound one."""
    return ArtifactRecord(
        version=version,
        mlflow_run_id="run",
        source=source,
        directory=str(directory),
        checkpoint_sha256="c" * 64,
        onnx_sha256=onnx_sha256,
        classes=("streak",),
        input_size=640,
        parity_passed=True,
        parity_reason="",
        reused=False,
        seconds=1.0,
    )
