"""The whole way from ``best.pt`` to ``model.onnx`` and ``version.json``.

``version.json``: what a model says of itself wherever it runs. Equal facts give equal bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from banana_delivery.errors import ExportError, redacted
from banana_delivery.export import sandbox
from banana_delivery.export.checkpoint_scan import ScanReport
from banana_delivery.export.parity import ASKED_FROM, Parity, assess_parity, compare
from banana_delivery.export.precision.choosing import choose_precision
from banana_delivery.export.precision.order import PrecisionOrder
from banana_delivery.export.protocol import (
    Answers,
    Exported,
    ExportRequest,
    Frame,
    ScanRequest,
    Served,
    ServeRequest,
)
from banana_delivery.files import file_sha256
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.model import Model
from banana_delivery.policy.quality.precision import AS_ASKED, PrecisionChoice, not_tried

MODEL_FILE = "model.onnx"
LIMIT_SECONDS = 3600.0
"""Of an export, and of comparing it, where no setting says otherwise."""
STEP_SECONDS = 600.0
"""Of one step of these: loading, an image, the export itself. It is long enough for the largest detectors on a busy
core, and a process that hangs is ended by it."""
SCAN_SECONDS = 60.0
_SCAN_WORKER = "banana_delivery.export.scan_worker"
_EXPORT_WORKER = "banana_delivery.export.export_worker"
_SERVING_WORKER = "banana_delivery.export.serving_worker"


class Artifact(Model):
    """What became of a checkpoint.

    Attributes:
        checkpoint_sha256: of ``best.pt``, hex.
        onnx_sha256: of ``model.onnx``, hex.
        classes: names, in the order of their ids.
        frame: what the network takes.
        exported_with: programs and versions that made the export.
        parity: how alike checkpoint and export answer, in f32.
        precision: what ``model.onnx`` computes in, and why.
        seconds: wall-clock time.
    """

    checkpoint_sha256: str
    onnx_sha256: str
    classes: tuple[str, ...]
    frame: Frame
    exported_with: str
    parity: Parity
    precision: PrecisionChoice = AS_ASKED
    seconds: float

    @property
    def input_size(self) -> int:
        """Pixels of the longer side."""
        return max(self.frame.width, self.frame.height)


def export_model(
    checkpoint: Path,
    to: Path,
    model: ModelVersion,
    images: Sequence[Path],
    progress: Callable[[str], object],
    *,
    judged: Sequence[str] = (),
    judged_by: str = "",
    limit: float = LIMIT_SECONDS,
    precision: PrecisionOrder | None = None,
) -> Artifact:
    """Scan a checkpoint, export it and compare both, and leave ``model.onnx`` and ``version.json`` in ``to``.

    Args:
        checkpoint: the downloaded ``best.pt``; never loaded in this process.
        to: existing folder. Its files change only if all went well, whether or not the parity passed.
        model: what the registry says of the version.
        images: JPEG files on which both must answer alike.
        progress: called with a line of text at each step.
        judged: classes that labelled images show; a model that knows others is refused before it is exported.
        judged_by: which images these are, and what to do if they are the wrong ones.
        limit: seconds that the export may take, comparing it, quantising it, and judging that.
        precision: what to try beside f32; None: nothing.

    Raises:
        RejectedModelError: if the model must not be delivered.
        ExportError: if the export could not be carried out here.
    """
    start = time.monotonic()
    with room_in(to, ".converting-") as scratch:
        # The subprocesses work elsewhere.
        seen = tuple(image.absolute() for image in images)
        artifact = _export_model(
            checkpoint.absolute(), scratch, model, seen, progress, Judge(tuple(judged), judged_by), limit, precision
        )
        for file in (MODEL_FILE, VERSION_FILE):
            (scratch / file).replace(to / file)
    return artifact.replace(seconds=time.monotonic() - start)


@contextmanager
def room_in(to: Path, prefix: str) -> Iterator[Path]:
    """A folder in ``to``, for as long as the block runs.

    Raises:
        ExportError: if the disk does not let the block do its work there.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=to) as name:
            yield Path(name)
    except OSError as error:
        raise ExportError(
            f"The export into {to} failed ({error.strerror or error}): look at the disk's free space and rights."
        ) from error


def scan_confined(checkpoint: Path, checked: Path, scratch: Path, timeout: float) -> ScanReport:
    """Scan a checkpoint in a subprocess, which writes the archive that may be loaded.

    Args:
        checkpoint: the file as it was downloaded.
        checked: the archive to write, below ``scratch``.
        scratch: existing folder for the subprocess.
        timeout: seconds.

    Raises:
        RejectedModelError: if the checkpoint must not be loaded.
        ExportError: if the subprocess dies or takes too long.
    """
    return sandbox.run(_SCAN_WORKER, ScanRequest(checkpoint=checkpoint, checked=checked), ScanReport, scratch, timeout)


class Judge(NamedTuple):
    """By what a model will be judged: classes, and which images show them."""

    classes: tuple[str, ...] = ()
    images: str = ""


def export_onnx(
    checkpoint: Path, to: Path, images: tuple[Path, ...], scratch: Path, timeout: float, judge: Judge | None = None
) -> Exported:
    """Export a scanned checkpoint to the file ``to`` in a subprocess, and let it answer the images itself.

    Args:
        checkpoint: must have passed ``scan``.
        to: the ONNX file to write.
        images: files it answers.
        scratch: existing folder for the subprocess.
        timeout: seconds.
        judge: by what it will be judged; None: nobody knows.

    Raises:
        RejectedModelError: if the model must not be delivered.
        ExportError: if the subprocess dies or takes too long.
    """
    frames = scratch / "frames"
    frames.mkdir()
    request = ExportRequest(
        checkpoint=checkpoint,
        onnx=to,
        images=images,
        frames=frames,
        confidence=ASKED_FROM,
        judged=judge.classes if judge else (),
        judged_by=judge.images if judge else "",
        progress=scratch / sandbox.PROGRESS,
    )
    exported = sandbox.run(_EXPORT_WORKER, request, Exported, scratch, timeout, STEP_SECONDS)
    # Where its files are is known here; what a process says that loaded a stranger's file is not followed.
    written = [to, *(frames / f"{index}.png" for index in range(len(images)))]
    if list(exported.frames) != written[1:] or not all(file.is_file() and not file.is_symlink() for file in written):
        raise ExportError("The export did not leave the files that it should: try again.")
    return exported


def parity(model: Path, exported: Exported, images: tuple[Path, ...], scratch: Path, timeout: float) -> Parity:
    """Let the serving code answer with ``model`` what the checkpoint was asked, and compare the answers."""
    answers = _served(model, (*exported.frames, *images), scratch, timeout)
    count = len(exported.frames)
    return assess_parity(
        compare(exported.frame_answers, answers[:count]), compare(exported.answers, answers[count:]), len(images)
    )


def answered(model: Path, images: Sequence[Path], scratch: Path, limit: float) -> Answers:
    """What the serving code answers with an exported model, image by image.

    Args:
        model: ``model.onnx`` with ``version.json`` beside it.
        images: files.
        scratch: existing folder for the subprocess.
        limit: seconds that it may take.

    Raises:
        RejectedModelError: if the serving code does not take the model.
        ExportError: if the subprocess dies or takes too long.
    """
    # The subprocess reads nothing but its own folder and what it is asked about.
    own = [Path(shutil.copy2(file, scratch)) for file in (model, model.with_name(VERSION_FILE))]
    return _served(own[0], tuple(image.absolute() for image in images), scratch, limit)


def _served(model: Path, images: tuple[Path, ...], scratch: Path, timeout: float) -> Answers:
    request = ServeRequest(model=model, images=images, confidence=ASKED_FROM, progress=scratch / sandbox.PROGRESS)
    return sandbox.run(_SERVING_WORKER, request, Served, scratch, timeout, STEP_SECONDS).answers


def _export_model(
    checkpoint: Path,
    scratch: Path,
    model: ModelVersion,
    images: tuple[Path, ...],
    progress: Callable[[str], object],
    judge: Judge,
    limit: float,
    precision: PrecisionOrder | None,
) -> Artifact:
    # Under this name, since ultralytics writes beside what it reads and goes by the suffix.
    checked, onnx = scratch / "best.pt", scratch / MODEL_FILE
    checkpoint_sha256 = file_sha256(checkpoint)
    report = scan_confined(checkpoint, checked, scratch, SCAN_SECONDS)
    progress(f"Scanned {checkpoint.name}: {report.bytes:,} bytes, {len(report.imports)} imports, all of them allowed")
    exported = export_onnx(checked, onnx, images, scratch, limit, judge)
    progress(f"Exported {len(exported.classes)} classes at {exported.input_size} px with {exported.exported_with}")
    write_version_file(scratch, model, exported, checkpoint_sha256, file_sha256(onnx))
    alike = parity(onnx, exported, images, scratch, limit)
    progress(f"Compared with the checkpoint: {alike.reason}")
    choice = not_tried("the export does not answer as its checkpoint does") if precision else AS_ASKED
    if precision and alike.passed:
        choice, chosen = choose_precision(precision, onnx, exported.classes, scratch, limit, progress)
        chosen.replace(onnx)
        write_version_file(scratch, model, exported, checkpoint_sha256, file_sha256(onnx), choice)
    return Artifact(
        checkpoint_sha256=checkpoint_sha256,
        onnx_sha256=file_sha256(onnx),
        classes=exported.classes,
        frame=exported.frame,
        exported_with=exported.exported_with,
        parity=alike,
        precision=choice,
        seconds=0.0,
    )


VERSION_FILE = "version.json"


def write_version_file(
    folder: Path,
    model: ModelVersion,
    exported: Exported,
    checkpoint_sha256: str,
    onnx_sha256: str,
    precision: PrecisionChoice = AS_ASKED,
) -> Path:
    """Write ``folder/version.json`` and return its path."""
    facts = {
        "model_name": model.name,
        "version": model.version,
        "mlflow_run_id": model.run_id,
        "source": redacted(model.source),
        "classes": list(exported.classes),
        "input_size": exported.input_size,
        "frame": exported.frame.model_dump(),
        "checkpoint_sha256": checkpoint_sha256,
        "onnx_sha256": onnx_sha256,
        "exported_with": exported.exported_with,
        "precision": precision.taken,
        "precision_reason": precision.reason,
    }
    path = folder / VERSION_FILE
    path.write_text(json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
