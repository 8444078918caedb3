"""The subprocess that loads a checkpoint: checks it, exports it to ONNX and lets it answer some images.

``python -m banana_delivery.export.export_worker REQUEST ANSWER TIMEOUT``; started by ``banana_delivery.export.export``
alone, since it loads what it is given.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from banana_delivery.errors import UnjudgedClassesError
from banana_delivery.export.protocol import Exported, ExportRequest
from banana_delivery.export.sandbox import serve
from banana_delivery.quoting import cited

UNSTEADY_METADATA = frozenset({"date"})
"""What ultralytics writes into the file that differs between two exports of one checkpoint."""


def export(request: ExportRequest) -> Exported:
    """Check, export and answer.

    Raises:
        RejectedModelError: if the checkpoint must not be delivered.
    """
    # Here and not above: the process has to confine itself before it imports a gigabyte.
    from banana_delivery.export import detector

    require_restricted_loading()
    model = detector.load(request.checkpoint)
    refuse_unjudged(model.classes, request)
    frames = tuple(
        detector.write_frame(model, image, request.frames / f"{index}.png")
        for index, image in enumerate(request.images)
    )
    answers, frame_answers = (
        tuple(detector.answer(model, image, request.confidence) for image in images)
        for images in (request.images, frames)
    )
    written = model.yolo.export(
        format="onnx",
        imgsz=model.input_size,
        batch=1,
        dynamic=model.takes_frames,
        simplify=False,
        device="cpu",
        verbose=False,
    )
    steady(Path(written), request.onnx)
    return Exported(
        classes=model.classes,
        input_size=model.input_size,
        exported_with=exporters(),
        answers=answers,
        frames=frames,
        frame_answers=frame_answers,
    )


def refuse_unjudged(classes: Sequence[str], request: ExportRequest) -> None:
    """Nobody could say how good a model is at what no labelled image shows.

    Raises:
        UnjudgedClassesError: if that is so.
    """
    unknown = [name for name in classes if name not in request.judged] if request.judged else []
    if unknown:
        raise UnjudgedClassesError(
            f"The model knows the classes {cited(', '.join(classes))}, but no labelled image shows "
            f"{cited(', '.join(unknown))}, so that nobody could judge it: the images are {request.judged_by}. "
            "Then stage this version again."
        )


def require_restricted_loading() -> None:
    """Make sure that a checkpoint is loaded by torch's restricted unpickler alone, by trying what it must refuse.

    Raises:
        RuntimeError: if it is not in force, for example since an upgrade reads another variable.
    """
    import pickle

    import torch
    from ultralytics.nn import tasks

    held = tasks._SafeLoad.restricted()  # type: ignore[no-untyped-call]
    saved = io.BytesIO()
    torch.save(Path, saved)
    saved.seek(0)
    try:
        torch.load(saved, weights_only=False)
    except pickle.UnpicklingError:
        if held:
            return
    raise RuntimeError("torch's restricted loading is not in force, so that no model is loaded")


def steady(exported: Path, to: Path) -> None:
    """Copy an ONNX file without what differs between two exports, so that equal checkpoints give equal files."""
    import onnx

    model = onnx.load(exported)
    kept = sorted((entry.key, entry.value) for entry in model.metadata_props if entry.key not in UNSTEADY_METADATA)
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)
    to.write_bytes(model.SerializeToString(deterministic=True))


def exporters() -> str:
    """The programs that decide the bytes of an export."""
    import onnx
    import torch
    import ultralytics

    torch_version = torch.__version__.partition("+")[0]
    return f"ultralytics {ultralytics.__version__}, torch {torch_version}, onnx {onnx.__version__}"


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], ExportRequest, export))
