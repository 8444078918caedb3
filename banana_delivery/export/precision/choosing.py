"""From an exported model to the form of it that is served."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from banana_delivery.errors import ExportError, RejectedModelError, UnsupportedModelError
from banana_delivery.export import sandbox
from banana_delivery.export.precision.cpu import kind_of_cpu
from banana_delivery.export.precision.order import JudgingImage, PrecisionOrder
from banana_delivery.export.precision.protocol import Beside, BesideRequest, Quantised, QuantiseRequest
from banana_delivery.export.protocol import Detection
from banana_delivery.policy.quality.matching import Detections, Labelled, Matches, match_answers
from banana_delivery.policy.quality.precision import Asked, Precision, PrecisionChoice, choose, not_tried

LEAST_CALIBRATION = 8
"""Images; of fewer the next one goes beyond all that was seen too often."""
AT_ONCE = 100
"""Images of one process: its answer stays below ``sandbox.MAX_ANSWER``, and its start does not count."""
STEP_SECONDS = 600.0
"""Of one image, or of writing the integers; whoever hangs is ended by it."""
_QUANTISE_WORKER = "banana_delivery.export.precision.quantise_worker"
_BESIDE_WORKER = "banana_delivery.export.precision.beside_worker"


def choose_precision(
    order: PrecisionOrder,
    model: Path,
    classes: Sequence[str],
    scratch: Path,
    limit: float,
    say: Callable[[str], object],
) -> tuple[PrecisionChoice, Path]:
    """Quantise a model, have both forms judged, and say which one is served.

    Args:
        order: what was asked, and by which images that is judged.
        model: the exported model, proven to answer as its checkpoint does, with ``version.json`` beside it.
        classes: what it knows, in the order of their ids; each is a labelled one.
        scratch: existing folder for the subprocesses.
        limit: seconds that quantising may take, and judging.
        say: told what was found.

    Returns:
        The choice, and the file that is served.

    Raises:
        RejectedModelError: if int8 was insisted on, and this model must not be delivered so.
        ExportError: if int8 was insisted on, and could not be tried.
    """
    try:
        choice, int8 = _tried(order, model, classes, scratch, limit, say)
    except (RejectedModelError, ExportError) as error:
        if order.asked is Asked.INT8:
            raise
        choice, int8 = not_tried(f"int8 could not be tried: {_lasting(error, scratch)}"), model
    if choice.rejected:
        raise UnsupportedModelError(choice.reason)
    faster = "" if choice.gain is None else f" In int8 an image takes {1 / choice.gain:.0%} of the CPU time here."
    say(f"Precision: {choice.reason}{faster}")
    return choice, int8 if choice.taken is Precision.INT8 else model


def _tried(
    order: PrecisionOrder,
    model: Path,
    classes: Sequence[str],
    scratch: Path,
    limit: float,
    say: Callable[[str], object],
) -> tuple[PrecisionChoice, Path]:
    if len(order.calibration) < LEAST_CALIBRATION:
        raise ExportError(
            f"Quantising takes at least {LEAST_CALIBRATION} images that judge nothing, a tenth of the labelled ones, "
            f"and there are {len(order.calibration)}: label more, or set BANANA_PRECISION to f32."
        )
    int8 = scratch / "model.int8.onnx"
    request = QuantiseRequest(
        model=model, to=int8, images=_absolute(order.calibration), progress=scratch / sandbox.PROGRESS
    )
    made = sandbox.run(_QUANTISE_WORKER, request, Quantised, scratch, limit, STEP_SECONDS)
    if not int8.is_file() or int8.is_symlink():
        raise ExportError("Quantising did not leave the file that it should: try again.")
    say(
        f"Quantised {made.in_integers} of {made.convolutions} convolutions by {len(order.calibration)} images; judging "
        f"both forms by {len(order.judging):,} others"
    )
    int8_matches, f32_matches, measured = _judged(order, model, int8, classes, scratch, limit)
    # Measured again, what lies at the limit would be another choice each time, and another image.
    cpu = kind_of_cpu()
    gain = order.gains.get(cpu, measured)
    return choose(order.asked, int8_matches, f32_matches, gain, order.margins).replace(cpu=cpu), int8


def _judged(
    order: PrecisionOrder, model: Path, int8: Path, classes: Sequence[str], scratch: Path, limit: float
) -> tuple[Matches, Matches, float]:
    """Both forms' answers, matched, and how many times less CPU time the integers took."""
    # A model that knows a class which no image shows was refused before.
    as_labelled = np.array([order.class_names.index(name) for name in classes], np.int64)
    parts = list(_answered(order.judging, model, int8, scratch, limit))

    def matched(answers: Iterable[Sequence[Detection]]) -> Matches:
        pairs = zip(order.judging, answers, strict=True)
        return match_answers(
            (Labelled(image.name, image.truth, _detections(found, as_labelled)) for image, found in pairs),
            order.class_names,
        )

    gain = sum(part.f32_seconds for part in parts) / max(sum(part.int8_seconds for part in parts), 1e-9)
    try:
        return (
            matched(one for part in parts for one in part.int8),
            matched(one for part in parts for one in part.f32),
            gain,
        )
    except (ValueError, IndexError) as error:
        # It is a stranger's word, as all that a process says which runs his model.
        raise ExportError(
            f"Asked about {len(order.judging):,} images, both forms of the model answered what it should not "
            f"({type(error).__name__}): try again, and if it stays so, do not trust this model."
        ) from error


def _answered(images: Sequence[JudgingImage], model: Path, int8: Path, scratch: Path, limit: float) -> Iterator[Beside]:
    deadline = time.monotonic() + limit
    for start in range(0, len(images), AT_ONCE):
        left = deadline - time.monotonic()
        if left <= 0:
            raise _late(len(images), limit)
        files = _absolute([image.path for image in images[start : start + AT_ONCE]])
        request = BesideRequest(model=model, int8=int8, images=files, progress=scratch / sandbox.PROGRESS)
        try:
            part = sandbox.run(_BESIDE_WORKER, request, Beside, scratch, left, STEP_SECONDS)
        except ExportError as error:
            if time.monotonic() < deadline:
                raise
            raise _late(len(images), limit) from error
        yield part


def _late(images: int, limit: float) -> ExportError:
    """Without what was left for the last of them, which is another time each day."""
    return ExportError(
        f"Judging int8 by {images:,} images took more than {limit:.0f} s: give it more time "
        "(BANANA_EXPORT_SECONDS), or set BANANA_PRECISION to f32."
    )


def _lasting(error: Exception, scratch: Path) -> str:
    """What went wrong, in words that become part of the image: this folder has another name each time."""
    said = str(error)
    for folder in {str(scratch), str(scratch.resolve())}:
        said = said.replace(f"{folder}/", "")
    return said


def _detections(found: Sequence[Detection], as_labelled: NDArray[np.int64]) -> Detections:
    return Detections(
        boxes=np.array([one.box for one in found], np.float64).reshape(-1, 4),
        classes=as_labelled[[one.class_id for one in found]],
        scores=np.array([one.score for one in found], np.float64),
    )


def _absolute(files: Sequence[Path]) -> tuple[Path, ...]:
    """The subprocesses work elsewhere."""
    return tuple(file.absolute() for file in files)
