"""The subprocess that loads a checkpoint: checks it, exports it to ONNX and lets it answer some images.

``python -m banana_delivery.export.export_worker REQUEST ANSWER TIMEOUT``; started by ``banana_delivery.export.export``
alone, since it loads what it is given.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from banana_delivery.errors import RejectedModelError, UnjudgedClassesError, UnsupportedModelError
from banana_delivery.export.protocol import Exported, ExportRequest
from banana_delivery.export.sandbox import get_on, serve
from banana_delivery.quoting import cited

if TYPE_CHECKING:
    from banana_delivery.export.detector.loading import Detector

UNSTEADY_METADATA = frozenset({"date"})
"""What ultralytics writes into the file that differs between two exports of one checkpoint."""


def export(request: ExportRequest) -> Exported:
    """Check, export and answer.

    Raises:
        RejectedModelError: if the checkpoint must not be delivered.
    """
    # Here and not above: the process has to confine itself before it imports a gigabyte.
    from banana_delivery.export.detector import loading

    require_restricted_loading()
    model = loading.load(request.checkpoint)
    refuse_unjudged(model.classes, request)
    try:
        return _run(model, request)
    except RejectedModelError:
        raise
    except Exception as error:
        if loading.is_own_fault(error):
            raise
        raise UnsupportedModelError(
            f"{request.checkpoint.name} was loaded, but {loading.made_by()} cannot run or export its network "
            f"({loading.said(error)}): train it with the layers of that release, and try `yolo export format=onnx`."
        ) from error


def _run(model: Detector, request: ExportRequest) -> Exported:
    """Let the checkpoint answer, and export it."""
    from banana_delivery.export.detector.reference import answer

    frames = tuple(request.frames / f"{index}.png" for index in range(len(request.images)))
    answers = []
    for image, frame in zip(request.images, frames, strict=True):
        answers.append(answer(model, image, request.confidence, frame))
        get_on(request.progress)
    takes = model.frame
    written = model.yolo.export(
        format="onnx",
        imgsz=(takes.height, takes.width),
        batch=1,
        # A stretched image fills one and the same frame always.
        dynamic=not takes.stretched,
        simplify=False,
        device="cpu",
        verbose=False,
    )
    steady(Path(written), request.onnx)
    return Exported(
        classes=model.classes,
        frame=takes,
        exported_with=exporters(),
        answers=tuple(one.in_image for one in answers),
        frames=frames,
        frame_answers=tuple(one.in_frame for one in answers),
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
